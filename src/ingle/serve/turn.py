"""Owns one turn of a conversation that is served, in whatever dialect, from its begin to its end.

What clients left out of the past comes back (`Recall`); at the end, what was said is remembered and
the next turn's beginning is computed while nobody asks for anything. It does not know HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ingle.chat.message import Message
from ingle.errors import IngleError
from ingle.llm import AsyncStream, Completion
from ingle.llm.completion import TokenLogprob
from ingle.llm.piece import Piece
from ingle.runtime import Terms
from ingle.serve.rack import Answering
from ingle.serve.recall import Recall


class Turn:
    """`count` replies to a conversation, begun. Raises IngleError, BusyError.

    options: as `LLM.chat` takes them. messages: the conversation, with what was recalled.
    """

    def __init__(
        self,
        model: Answering,
        recall: Recall,
        messages: Sequence[Message],
        options: Mapping[str, Any],
        terms: Terms,
        count: int = 1,
    ) -> None:
        self._model, self._recall, self._options = model, recall, options
        self.messages = recall.restored(messages)
        self.streams: list[AsyncStream] = []
        try:
            for index in range(count):
                own = options if not index else {**options, **next_seed(options, index)}
                self.streams.append(model.awaited_reply(self.messages, own, terms))
        except IngleError:
            self.cancel()
            raise

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Pieces of all replies as they come, each with its reply's number; then `completions`."""
        async for index, piece in merged(self.streams):
            yield index, piece
        self._end()

    async def whole(self) -> list[list[TokenLogprob]]:
        """Reads all replies to their ends; log-probabilities of their answers' tokens."""
        found: list[list[TokenLogprob]] = [[] for _ in self.streams]
        async for index, piece in self.pieces():
            if isinstance(piece, TokenLogprob):
                found[index].append(piece)
        return found

    @property
    def completions(self) -> list[Completion]:
        """The finished replies. IngleError before the end."""
        return [stream.completion for stream in self.streams]

    def cancel(self) -> None:
        """Nobody waits for the replies any more; what is finished stays."""
        for stream in self.streams:
            stream.cancel()

    def _end(self) -> None:
        for one in self.completions:
            if one.finish_reason == "tool_calls":
                self._recall.keep(one.messages, one.tool_calls)
        first = self.completions[0]
        self._model.warm_history([*self.messages, *first.messages], self._options)


def with_system(said: Sequence[Message], system: str | None) -> tuple[Message, ...]:
    """`said` after the system message of the model's name, unless there is one in it."""
    has_one = any(message.role in ("system", "developer") for message in said)
    return tuple(said) if has_one or not system else (Message("system", system), *said)


async def merged(streams: Sequence[AsyncStream]) -> AsyncIterator[tuple[int, Piece]]:
    """Pieces of several answers in the order in which they come, each with its answer's number."""
    if len(streams) == 1:
        async for piece in streams[0].pieces():
            yield 0, piece
        return
    pieces: asyncio.Queue[tuple[int, Piece | BaseException | None]] = asyncio.Queue(len(streams))

    async def read(index: int, stream: AsyncStream) -> None:
        try:
            async for piece in stream.pieces():
                await pieces.put((index, piece))
            await pieces.put((index, None))
        except Exception as error:
            await pieces.put((index, error))

    readers = [asyncio.create_task(read(i, stream)) for i, stream in enumerate(streams)]
    running = len(readers)
    try:
        while running:
            index, found = await pieces.get()
            if found is None:
                running -= 1
            elif isinstance(found, BaseException):
                raise found
            else:
                yield index, found
    finally:
        for reader in readers:
            reader.cancel()


def next_seed(options: Mapping[str, Any], index: int) -> dict[str, int]:
    """Answers to one request differ, though a seed was given."""
    seed = options.get("seed")
    return {} if seed is None else {"seed": (seed + index) % (1 << 64)}
