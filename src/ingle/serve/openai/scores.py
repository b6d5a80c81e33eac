"""Owns log-probabilities as OpenAI's Completions API writes them: four lists, a place per token."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Any

from ingle.llm import TokenLogprob
from ingle.serve.openai.logprobs import number

_UTF8 = codecs.getincrementaldecoder("utf-8")


class Scores:
    """The lists of one choice, filled along its text; `taken` hands out what came since."""

    def __init__(self) -> None:
        self._utf8 = _UTF8("replace")
        self._offset = 0  # characters before the next token
        self._clear()

    def first(self, token: str) -> None:
        """The first token of all, which nothing foretells."""
        self._put(token, None, None, token.encode())

    def add(self, tokens: Iterable[TokenLogprob]) -> None:
        """The tokens that follow."""
        for found in tokens:
            top = {shown(other): number(other.logprob) for other in found.top}
            top.setdefault(shown(found), number(found.logprob))
            self._put(shown(found), number(found.logprob), top, found.data)

    def taken(self) -> dict[str, Any]:
        """What was added since it was last asked for."""
        found, lists = self._lists, ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        self._clear()
        return {name: [row[i] for row in found] for i, name in enumerate(lists)}

    def _put(
        self, token: str, logprob: float | None, top: dict[str, float] | None, data: bytes
    ) -> None:
        self._lists.append((token, logprob, top, self._offset))
        self._offset += len(self._utf8.decode(data))

    def _clear(self) -> None:
        self._lists: list[tuple[str, float | None, dict[str, float] | None, int]] = []


def shown(found: TokenLogprob) -> str:
    """A token's text; one that is part of a character is told by its bytes, as OpenAI does.

    >>> shown(TokenLogprob(5, "�", -1.0, data=b"\\xe2\\x80"))
    'bytes:\\\\xe2\\\\x80'
    """
    try:
        return found.data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in found.data)
