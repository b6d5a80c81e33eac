"""Owns an answer awaited: a `Stream` run by a worker thread, its pieces handed to an event loop.

It does not know what the worker is shared with.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from types import TracebackType
from typing import Self

from ingle.llm.completion import Completion
from ingle.llm.stream import Stream

_Item = str | BaseException | None  # None: the end


class AsyncStream:
    """Pieces of text as they are ready, by ``async for``; `completion` tells the whole at the end.

    One that is left early is cancelled by `cancel`, by leaving ``async with``, or when nobody
    holds it any more.
    """

    def __init__(self, stream: Stream, worker: Executor) -> None:
        self._stream = stream
        self._items: asyncio.Queue[_Item] = asyncio.Queue()  # at most a context of pieces
        self._ended = False
        loop, items = asyncio.get_running_loop(), self._items
        worker.submit(_pump, stream, lambda it: loop.call_soon_threadsafe(items.put_nowait, it))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if self._ended:
            raise StopAsyncIteration
        item = await self._items.get()
        if isinstance(item, str):
            return item
        self._ended = True
        self._items.put_nowait(None)  # whoever else waits must see the end too
        if item is not None:
            raise item
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self.cancel()

    async def aclose(self) -> None:
        """Cancels, and waits until the token in progress is done: `completion` is ready."""
        self.cancel()
        while not self._ended and not self._stream.finished:
            await anext(self, None)
        self._ended = True

    def cancel(self) -> None:
        """Ends the generation after the token in progress. Any thread may call it."""
        if not self._ended:
            self._stream.cancel()

    @property
    def completion(self) -> Completion:
        """The whole answer; IngleError before the end."""
        return self._stream.completion

    async def whole(self) -> Completion:
        """The answer once it is complete. A task cancelled meanwhile ends the generation."""
        async with self:
            async for _ in self:
                pass
        return self.completion


def _pump(stream: Stream, put: Callable[[_Item], object]) -> None:
    """Runs `stream` to its end. It knows no AsyncStream, so that one nobody holds can go."""
    with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody is left to tell
        try:
            for piece in stream:
                put(piece)
            put(None)
        except Exception as error:
            put(error)
