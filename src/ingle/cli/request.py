"""Owns what a person asks of `ingle run`: model, prompt, options, checked before any work.

It does not know how the answer is made or shown.
"""

from __future__ import annotations

import math
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ingle import hub
from ingle.errors import IngleError

_PIPED_BYTES = 16 << 20  # more text than any context holds
_BACKENDS = ("cpu", "reference")


@dataclass(frozen=True)
class Options:
    """The options of `ingle run`, as typed; None leaves the choice to the model."""

    raw: bool
    sampling: dict[str, Any]  # the options of ingle.llm.GenerateOptions, None where not typed
    threads: int | None
    backend: str
    context: int | None
    as_json: bool
    verbose: bool
    exact: bool = False

    def check(self) -> None:
        """Raise IngleError for the first option whose value cannot be meant."""
        values = {**self.sampling, "threads": self.threads, "context": self.context}
        for name, (low, high, rule) in _RANGES.items():
            value = values[name]
            if value is not None and not low <= value <= high:  # NaN fails too
                option = _OPTIONS.get(name) or "--" + name.replace("_", "-")
                raise IngleError(option, f"{rule}, but got {value}")
        if self.backend not in _BACKENDS:
            rule = f"the backend must be {' or '.join(_BACKENDS)}, but got {self.backend}"
            raise IngleError("--backend", rule)
        if self.sampling["logprobs"] is not None and not self.as_json:
            rule = "log-probabilities are shown as JSON alone, but got no --json"
            raise IngleError("--logprobs", rule)
        _check_preset(self.sampling["preset"])


_RANGES: dict[str, tuple[float, float, str]] = {
    "temperature": (0.0, 100.0, "the temperature must be a number from 0 to 100"),
    "top_p": (math.nextafter(0, 1), 1.0, "the share must be above 0 and at most 1"),
    "top_k": (0, math.inf, "the count must be at least 0, which takes all"),
    "min_p": (0.0, 1.0, "the share must be from 0 to 1"),
    "typical_p": (math.nextafter(0, 1), 1.0, "the share must be above 0 and at most 1"),
    "repetition_penalty": (0.01, 100.0, "the penalty must be from 0.01 to 100; 1 is none"),
    "presence_penalty": (-2.0, 2.0, "the penalty must be from -2 to 2"),
    "frequency_penalty": (-2.0, 2.0, "the penalty must be from -2 to 2"),
    "logprobs": (0, 20, "the count must be from 0 to 20"),
    "num_experts_per_tok": (1, math.inf, "the count must be at least 1"),
    "max_tokens": (1, math.inf, "the count must be at least 1"),
    "seed": (0, 2**64 - 1, "the seed must be from 0 to 2^64 - 1"),
    "threads": (1, 1024, "the count must be from 1 to 1024"),
    "context": (1, math.inf, "the count must be at least 1"),
}
_OPTIONS = {"num_experts_per_tok": "--experts"}  # where the option has another name


def split_words(words: Sequence[str]) -> tuple[str, str | None]:
    """The model and the prompt, if any, among the words of the command line."""
    if not words:
        return hub.DEFAULT_MODEL, None
    first, *rest = words
    if hub.is_model_word(first):
        return first, " ".join(rest) if rest else None
    if rest:
        raise IngleError(
            "MODEL",
            f"the first of several words must name a model, but got {first!r}",
            "put quotes around a prompt of several words; `ingle list` shows the models",
        )
    return hub.DEFAULT_MODEL, first


def whole_prompt(typed: str | None, raw: bool) -> str | None:
    """The prompt as typed and as piped in, joined by a blank line; None asks for a chat.

    With `raw` and nothing typed, piped text is kept to the byte, its last newline included.
    """
    piped = _piped_text()
    if piped is not None and not (raw and typed is None):
        piped = piped.strip()
    parts = [part for part in (typed, piped) if part is not None]
    if not parts and sys.stdin is not None and sys.stdin.isatty():
        return None
    prompt = "\n\n".join(part for part in parts if part)
    if not prompt.strip() and not (raw and prompt):
        raise IngleError(
            "PROMPT", "a prompt must hold text, but got none", "name it, or pipe it in"
        )
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise IngleError("PROMPT", "a prompt must be UTF-8, but got other bytes") from None
    return prompt


def _check_preset(name: str | None) -> None:
    if name is None:
        return
    from ingle.runtime.presets import PRESETS

    if name not in PRESETS:
        rule = f"the preset must be one of {', '.join(PRESETS)}, but got {name}"
        raise IngleError("--preset", rule)


def _piped_text() -> str | None:
    """What stands in the pipe or file that is stdin; None for a terminal or a device."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # no stdin, or one that is closed
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return None
    data = sys.stdin.buffer.read(_PIPED_BYTES + 1)
    if len(data) > _PIPED_BYTES:
        rule = f"piped text must have at most {_PIPED_BYTES >> 20} MiB, but got more"
        raise IngleError("stdin", rule)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        rule = f"piped text must be UTF-8, but got another byte at offset {error.start}"
        raise IngleError("stdin", rule, "convert it, for example with iconv") from None
