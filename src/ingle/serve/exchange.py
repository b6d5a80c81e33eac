"""Owns one HTTP exchange as the server keeps track of it: which models it holds, how it went.

The middleware that begins an exchange is `journal`; whoever runs in it finds it here. It does not
know bodies or dialects.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from ingle.errors import IngleError
from ingle.runtime import Terms

BUFFER_TOKENS = 64  # that the engine may be ahead of a client
# Headers that any dialect may have.
PRIORITY, TIMEOUT, REUSE = "x-request-priority", "x-request-timeout", "x-prefix-cache"
_PRIORITIES = {"low": -1, "normal": 0, "high": 1}
_MOST_S = 86_400.0


class Held(Protocol):
    """What an exchange may hold until it is over, so that nobody takes it away meanwhile."""

    def hold(self) -> None:
        """One exchange more."""

    def release(self) -> None:
        """One less."""


@dataclass
class Exchange:
    """client: who takes turns with others. headers: of the request, names in lower case. model: the
    name of the last one that was asked."""

    client: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    held: list[Held] = field(default_factory=list)

    def hold(self, one: Held) -> None:
        """Until the end of the exchange."""
        if one not in self.held:
            self.held.append(one)
            one.hold()

    def end(self) -> None:
        """Lets go of all that is held."""
        while self.held:
            self.held.pop().release()


current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def terms() -> Terms:
    """On which terms a request of the exchange around runs. Raises IngleError for wrong headers.

    ``X-Request-Priority: low | normal | high``, ``X-Request-Timeout: SECONDS`` and
    ``X-Prefix-Cache: on | off``.
    """
    around = current.get() or Exchange()
    headers = around.headers
    return Terms(
        priority=_PRIORITIES[_word(headers.get(PRIORITY, "normal"), PRIORITY, _PRIORITIES)],
        client=around.client,
        deadline=_deadline(headers.get(TIMEOUT)),
        buffer=BUFFER_TOKENS,
        reuse=_word(headers.get(REUSE, "on"), REUSE, ("on", "off")) == "on",
    )


def _word(said: str, header: str, words: Collection[str]) -> str:
    word = said.strip().lower()
    if word not in words:
        rule = f"it must be one of {', '.join(words)}, but got {said!r:.40}"
        raise IngleError(header.title(), rule)
    return word


def _deadline(said: str | None) -> float | None:
    if said is None:
        return None
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MOST_S:
        rule = f"it must be seconds, more than 0 and at most a day, but got {said!r:.40}"
        raise IngleError("X-Request-Timeout", rule)
    return perf_counter() + seconds
