"""Owns the one reply that most requests ask for: of a turn, or raw text continued.

It does not know dialects. A client that goes away ends its reply.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from fastapi import Request

from ingle.llm import Completion
from ingle.llm.piece import Piece
from ingle.serve.connection import unless_gone
from ingle.serve.turn import Turn


class Single(Protocol):
    """A reply in progress; `ingle.llm.AsyncStream` is one."""

    def pieces(self) -> AsyncIterator[Piece]:
        """All that it is told in."""

    @property
    def completion(self) -> Completion:
        """The whole, at the end."""

    def cancel(self) -> None:
        """Nobody waits for it any more."""


class OneReply:
    """The first reply of a turn."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    async def pieces(self) -> AsyncIterator[Piece]:
        """All that it is told in."""
        async for _, piece in self._turn.pieces():
            yield piece

    @property
    def completion(self) -> Completion:
        """The whole, at the end."""
        return self._turn.completions[0]

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._turn.cancel()


async def whole(
    single: Single, request: Request, seen: Callable[[Piece], object] = lambda _: None
) -> Completion | None:
    """The whole reply; None if the client has gone, with which it ends. Raises what it met.

    seen: told of each piece.
    """

    async def read() -> Completion:
        async for piece in single.pieces():
            seen(piece)
        return single.completion

    try:
        return await unless_gone(request, read())
    finally:
        single.cancel()
