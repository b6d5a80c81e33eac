"""Owns how an awaited answer gets its parts: from the engine's thread, or from a worker's.

The engine's thread hands out tokens, of which the event loop makes text; a chat that runs tools
waits for them on a worker. It does not know who awaits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Protocol
from weakref import WeakKeyDictionary, ref

from ingle.llm.piece import Piece
from ingle.llm.stream import Stream
from ingle.llm.tool_loop import ToolLoop
from ingle.runtime import EngineLoop, Terms

Item = Piece | BaseException | None  # None: the end
Items = asyncio.Queue[Item]


class Feed(Protocol):
    """Puts items in the queue it was made with, until one is the end or an error."""

    def caught_up(self) -> None:
        """All that came was read."""

    def cancel(self) -> None:
        """End after the token in progress. Any thread may call it."""


class EngineFeed:
    """A stream fed with tokens. Raises BusyError when too many answers are awaited."""

    def __init__(self, stream: Stream, items: Items, engine: EngineLoop, terms: Terms) -> None:
        self._stream, self._items, self._engine = stream, items, engine
        self._count = 0  # tokens taken
        tell = _mailbox(asyncio.get_running_loop()).put
        self._task = engine.submit(
            stream.request,
            stream.progress,
            lambda tokens, done, error: tell(lambda: self._take(tokens, done, error)),
            terms,
        )

    def caught_up(self) -> None:
        """Lets the engine go on, if it is as far ahead as it may be."""
        self._engine.read(self._task, self._count)

    def cancel(self) -> None:
        """Nothing is handed out from now on; the end comes with the engine's next step."""
        self._stream.quit()
        self._engine.cancel(self._task)

    def _take(self, tokens: list[int], done: bool, error: BaseException | None) -> None:
        if self._stream.finished:  # by a stop string
            return
        for token in tokens:
            self._hand_out(self._stream.feed(token))
            if self._stream.stopped:
                self._engine.cancel(self._task)
                break
        self._count += len(tokens)
        if done or self._stream.stopped:
            self._hand_out(self._stream.end())
            self._items.put_nowait(error)

    def _hand_out(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._items.put_nowait(piece)


class WorkerFeed:
    """A chat that runs tools, read to its end by a worker."""

    def __init__(self, chat: ToolLoop, items: Items, worker: Executor) -> None:
        self._chat = chat
        loop = asyncio.get_running_loop()
        worker.submit(_pump, chat, lambda it: loop.call_soon_threadsafe(items.put_nowait, it))

    def caught_up(self) -> None:
        """It goes on anyway."""

    def cancel(self) -> None:
        """Ends the reply in progress."""
        self._chat.cancel()


def _pump(chat: ToolLoop, put: Callable[[Item], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody is left to tell
        try:
            for part in chat.parts():
                put(part)
            put(None)
        except Exception as error:
            put(error)


class Mailbox:
    """Calls from other threads into an event loop, as many as there are for one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)
        self._calls: deque[Callable[[], None]] = deque()
        self._woken = False

    def put(self, call: Callable[[], None]) -> None:
        """`call` will run in the loop, unless that is closed."""
        self._calls.append(call)
        loop = self._loop()
        if self._woken or loop is None:
            return
        self._woken = True
        with contextlib.suppress(RuntimeError):  # it is closed: nobody is left to tell
            loop.call_soon_threadsafe(self._open)

    def _open(self) -> None:
        self._woken = False
        while self._calls:
            self._calls.popleft()()


_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()


def _mailbox(loop: asyncio.AbstractEventLoop) -> Mailbox:
    if loop not in _mailboxes:
        _mailboxes[loop] = Mailbox(loop)
    return _mailboxes[loop]
