"""Owns a chat that calls tools: replies and results in turn, until a reply calls nothing more.

It reads like one `Stream`. It does not know how a conversation becomes a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ingle.chat.message import Message
from ingle.errors import IngleError
from ingle.llm.completion import Completion, Timings, Usage
from ingle.llm.reasoning import Part
from ingle.llm.stream import Stream

if TYPE_CHECKING:  # loaded by whoever has tools
    from ingle.chat.constraint import Cost
    from ingle.chat.tools import Toolbox, ToolResult

DEFAULT_TURNS = 8

Ask = Callable[[Sequence[Message]], Stream]
"""The next reply, when these messages were said since the chat's own."""


class ToolLoop:
    """Pieces of text of all replies; `completion` is the last one's, with everybody's messages.

    max_turns: replies at most; the calls of the last one are not made, and are in `completion`.
    Nor are calls made of which a tool has no function. told: is handed each result at once.
    """

    def __init__(
        self,
        ask: Ask,
        toolbox: Toolbox,
        max_turns: int = DEFAULT_TURNS,
        told: Callable[[ToolResult], object] | None = None,
    ) -> None:
        if isinstance(max_turns, bool) or not isinstance(max_turns, int) or max_turns < 1:
            rule = f"max_turns must be a whole number from 1 up, but got {max_turns!r:.60}"
            raise IngleError("max_turns", rule)
        self._ask, self._toolbox, self._max_turns, self._told = ask, toolbox, max_turns, told
        self._said: list[Message] = []
        self._past: list[Completion] = []
        self.replies: list[Stream] = []
        """All streams so far, the one at hand last."""
        self._stream = ask([])  # whatever is wrong with the request is told now
        self.replies.append(self._stream)
        self._cancelled = False
        self._parts = self._run()
        self.results: list[ToolResult] = []
        """Of all calls that were answered, in order."""

    @property
    def opens_in_reasoning(self) -> bool:
        """Whether the prompt itself opened the model's reasoning."""
        return self._stream.opens_in_reasoning

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            part = next(self._parts)
            if not part.is_reasoning:
                return part.text

    def parts(self) -> Iterator[Part]:
        """Pieces of text and of reasoning, told apart."""
        yield from self._parts

    def whole(self) -> Completion:
        """Reads to the end and returns the answer."""
        for _ in self._parts:
            pass
        return self.completion

    def cancel(self) -> None:
        """Ends the reply that is being made; no call is made after it."""
        self._cancelled = True
        self._stream.cancel()

    @property
    def reply(self) -> Stream:
        """The reply that is being made."""
        return self._stream

    @property
    def finished(self) -> bool:
        """Whether `completion` is ready."""
        return self._stream.finished and not self._goes_on()

    @property
    def completion(self) -> Completion:
        """The last reply; its usage and messages are those of all. IngleError before the end."""
        last = self._stream.completion
        every = [*self._past, last]
        first = every[0].usage
        count = sum(one.usage.completion_tokens for one in every)
        reasoning = sum(one.usage.reasoning_tokens for one in every)
        return replace(
            last,
            usage=Usage(first.prompt_tokens, count, first.cached_tokens, reasoning),
            timings=_together(every),
            messages=(*self._said, *last.messages),
            constraint_cost=_cost(every),
        )

    def _run(self) -> Generator[Part, None, None]:
        while True:
            yield from self._stream.parts()
            if not self._goes_on():
                return
            reply = self._stream.completion
            self._past.append(reply)
            self._said += reply.messages
            for call in reply.tool_calls:
                result = self._toolbox.answer(call)
                self.results.append(result)
                self._said.append(result.message)
                if self._told is not None:
                    self._told(result)
            self._stream = self._ask(self._said)
            self.replies.append(self._stream)

    def _goes_on(self) -> bool:
        """Whether the reply at hand has calls that are to be made."""
        turns = len(self._past) + 1
        if self._cancelled or turns >= self._max_turns or not self._toolbox.runs_all:
            return False
        return self._stream.finished and self._stream.completion.finish_reason == "tool_calls"


def _together(replies: Sequence[Completion]) -> Timings:
    """The times of all replies: sums, and rates over them; waiting for tools is in none."""
    times = [one.timings for one in replies]
    prompt_s, decode_s = sum(t.prompt_s for t in times), sum(t.decode_s for t in times)
    computed = sum(t.prompt_tokens_per_s * t.prompt_s for t in times)
    decoded = sum(t.decode_tokens_per_s * t.decode_s for t in times)
    return replace(
        times[0],
        prompt_s=prompt_s,
        decode_s=decode_s,
        prompt_tokens_per_s=computed / prompt_s if prompt_s else 0.0,
        decode_tokens_per_s=decoded / decode_s if decode_s else 0.0,
    )


def _cost(replies: Sequence[Completion]) -> Cost | None:
    costs = [one.constraint_cost for one in replies if one.constraint_cost is not None]
    return sum(costs[1:], costs[0]) if costs else None
