"""Owns how long a client may keep a connection busy, or idle, and how many there may be.

Uvicorn's HTTP/1.1 protocol with limits: a request's head must come in time, an answer must be
read, and one connection too many takes the place of the one that was idle longest. What is not read
yet is bounded by the socket's buffers: an answer waits for its reader. It does not know requests.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20.0  # for the head of a request, once it has begun
SILENT_S = 75.0  # for a connection without a request
UNREAD_S = 300.0  # for an answer of which nothing more is read


class Wire(H11Protocol):
    """One client. most: connections at a time, as `limited` says."""

    most = 1000

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self._patience: asyncio.TimerHandle | None = None  # with what the client sends
        self._unread: asyncio.TimerHandle | None = None
        self._head_begun = False
        self.since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the place of an idle one if there are too many."""
        super().connection_made(transport)
        self.since = self.loop.time()
        self._patience = self.loop.call_later(SILENT_S, self._close)
        if len(self.connections) > self.most:
            idle = [one for one in self.connections if isinstance(one, Wire) and one.idle]
            min(idle, key=lambda one: one.since, default=self)._close()

    def data_received(self, data: bytes) -> None:
        """Watches over the head that this belongs to."""
        super().data_received(data)
        if self.idle:
            if not self._head_begun:
                self._head_begun = True
                self._wait(HEAD_S)
        else:
            self._head_begun = False
            self._wait(None)

    def on_response_complete(self) -> None:
        """From now on it is idle."""
        self.since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self._abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._wait(None)
        self._read()
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self, seconds: float | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = None if seconds is None else self.loop.call_later(seconds, self._close)

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _abort(self) -> None:
        self.transport.abort()


def limited(most: int) -> type[Wire]:
    """Connections of which there are at most so many."""
    return type("LimitedWire", (Wire,), {"most": most})
