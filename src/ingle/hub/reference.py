"""Owns how a repository of the model hub is written: ``user/repo``, ``:quant`` or file, prefixes.

It does not know whether the repository exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PREFIX = re.compile(r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf:(?://)?)", re.I)
_PART = r"[A-Za-z0-9][\w.-]*"
_PLAIN = re.compile(rf"({_PART}/{_PART})(?::([\w.-]+(?:/[\w.-]+)*))?", re.ASCII)
_PAGE = re.compile(rf"({_PART}/{_PART})/(?:(?:blob|resolve|tree)/[^/]+/?)?(.*)", re.ASCII)


@dataclass(frozen=True)
class Reference:
    """A repository, and what is wanted of it: a quant, a file's path, or "" for ingle's choice."""

    repo: str
    wish: str = ""

    def __str__(self) -> str:
        return f"{self.repo}:{self.wish}" if self.wish else self.repo


def parse(text: str) -> Reference | None:
    """The reference that `text` spells; None when it spells none.

    Forms: ``user/repo``, ``user/repo:Q4_K_M``, ``user/repo:file.gguf``, each after ``hf:``,
    ``hf.co/`` or ``huggingface.co/``, and a file's page in the browser.
    """
    prefix = _PREFIX.match(text)
    rest = text[prefix.end() :] if prefix else text
    match = _PLAIN.fullmatch(rest)
    if match is None and prefix:
        match = _PAGE.fullmatch(rest.split("?")[0])
    if match is None or ".." in rest or "--" in match[1]:
        return None
    wish = match[2] or ""
    return Reference(match[1], "" if wish == "latest" else wish)
