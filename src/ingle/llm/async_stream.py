"""Owns an answer awaited: its parts as they come, and its end. It does not know who makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from ingle.llm.completion import Completion, TokenLogprob
from ingle.llm.feed import Feed, Items
from ingle.llm.piece import Piece
from ingle.llm.reasoning import Part, ReasoningSplitter
from ingle.llm.stream import Stream
from ingle.llm.tool_loop import ToolLoop
from ingle.runtime import Progress, Request


class AsyncStream:
    """Pieces of text as they are ready, by ``async for``; `completion` tells the whole at the end.

    One that is left early is cancelled by `cancel`, by leaving ``async with``, or when nobody
    holds it any more. feed: begins to fill the queue it is given.
    """

    def __init__(self, stream: Stream | ToolLoop, feed: Callable[[Items], Feed]) -> None:
        self._stream = stream
        self._items: Items = asyncio.Queue()  # a feed bounds what it puts there
        self._ended = False
        self._feed = feed(self._items)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            piece = await self._piece()
            if isinstance(piece, Part) and not piece.is_reasoning:
                return piece.text

    async def parts(self) -> AsyncIterator[Part]:
        """Pieces of text and of reasoning, each said to be one or the other; instead of pieces."""
        async for piece in self.pieces():
            if isinstance(piece, Part):
                yield piece

    async def pieces(self) -> AsyncIterator[Piece]:
        """All that a reply is told in: `parts`, calls as they are written, log-probabilities."""
        splitter = None
        if isinstance(self._stream, Stream) and not self._stream.tells_reasoning:
            splitter = ReasoningSplitter(self._stream.opens_in_reasoning)
        while True:
            try:
                piece = await self._piece()
            except StopAsyncIteration:
                break
            if splitter is None or not isinstance(piece, Part):
                yield piece
                continue
            for told in splitter.feed(piece.text):
                yield told
        for told in [] if splitter is None else splitter.finish():
            yield told

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
        if "_feed" in self.__dict__:  # else nothing was begun
            self.cancel()

    async def aclose(self) -> None:
        """Cancels, and waits until the token in progress is done: `completion` is ready."""
        self.cancel()
        while not self._ended and not self._stream.finished:
            await anext(self, None)
        self._ended = True

    def cancel(self) -> None:
        """Ends the generation after the token in progress. Any thread may call it."""
        if not self._ended and not self._stream.finished:
            self._feed.cancel()

    @property
    def request(self) -> Request:
        """What is asked of the engine; of a chat that runs tools, for the reply being made."""
        return self._reply.request

    @property
    def prompt_logprobs(self) -> tuple[TokenLogprob, ...]:
        """Of the prompt's tokens from the second on, as far as computed, if they were asked for."""
        return self._reply.prompt_logprobs or ()

    @property
    def _reply(self) -> Stream:
        return self._stream.reply if isinstance(self._stream, ToolLoop) else self._stream

    @property
    def completion(self) -> Completion:
        """The whole answer; IngleError before the end."""
        return self._stream.completion

    @property
    def finished(self) -> bool:
        """Whether `completion` is ready."""
        return self._stream.finished

    @property
    def progress(self) -> Progress | None:
        """Counts and times so far; None for a chat that runs tools."""
        return self._stream.progress if isinstance(self._stream, Stream) else None

    async def whole(self) -> Completion:
        """The answer once it is complete. A task cancelled meanwhile ends the generation."""
        async with self:
            async for _ in self:
                pass
        return self.completion

    async def _piece(self) -> Piece:
        if self._ended:
            raise StopAsyncIteration
        if self._items.empty():
            self._feed.caught_up()
        item = await self._items.get()
        if item is not None and not isinstance(item, BaseException):
            return item
        self._ended = True
        self._items.put_nowait(None)  # whoever else waits must see the end too
        if item is not None:
            raise item
        raise StopAsyncIteration


witness: ContextVar[Callable[[AsyncStream], None] | None] = ContextVar("witness", default=None)
"""Told of every stream that is begun in its context, by the thread that begins it."""
