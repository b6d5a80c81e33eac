"""Owns what an engine tells those who keep count of it. It does not know who that is."""

from __future__ import annotations

from typing import Protocol

from ingle.runtime.task import Progress


class Meter(Protocol):
    """Told by the engine's thread, which waits for it: it must be quick. Times are in seconds."""

    def stepped(self, sequences: int, tokens: int, seconds: float) -> None:
        """A batch was computed: so many sequences, tokens of prompts and answers together."""

    def first_token(self, seconds: float) -> None:
        """An answer began, so long after it was asked for."""

    def more_tokens(self, count: int, seconds: float) -> None:
        """An answer got so many more tokens, so long after the ones before them."""

    def ended(self, progress: Progress, error: BaseException | None) -> None:
        """An answer is over: complete, cancelled, or failed."""
