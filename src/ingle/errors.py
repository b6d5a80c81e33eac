"""Owns the exceptions a user can cause, and their one-line form.

Every message reads ``[where] rule, but got value.`` and, on a second line, ``hint: remedy``.
It does not know how they are shown: the command line prints them and exits 2, HTTP answers 4xx.
"""

from __future__ import annotations


class IngleError(ValueError):
    """A mistake in what the user handed in.

    where: the place in the user's terms (an option, a file, a tensor, a JSON field).
    rule: what must hold, ending in ``but got X`` where there is a value to show.
    hint: what to do about it; empty when nothing sensible can be advised.
    """

    def __init__(self, where: str, rule: str, hint: str = "") -> None:
        self.where = where
        self.rule = rule
        self.hint = hint
        super().__init__(f"[{where}] {rule}." + (f"\nhint: {hint}" if hint else ""))


class FileFormatError(IngleError):
    """A file is damaged, hostile, or not of the container it claims to be."""


class UnsupportedError(IngleError):
    """A valid wish that this build cannot fulfil: an architecture, a tensor type, an option."""


class PromptTooLongError(IngleError):
    """A prompt has more tokens than the context that it is to be answered in."""

    def __init__(self, num_tokens: int, context: int, hint: str = "shorten the prompt") -> None:
        self.num_tokens, self.context = num_tokens, context
        rule = f"prompt must have 1 to {context} tokens, but got {num_tokens}"
        super().__init__("prompt", rule, hint)


class ModelNotFoundError(IngleError):
    """No registry entry, file or repository answers to a model's name."""


class DownloadError(IngleError):
    """Fetching failed: network, index, checksum or disk."""


class UnreachableError(DownloadError):
    """The source of a download gave nothing: no network, no index, no such file."""
