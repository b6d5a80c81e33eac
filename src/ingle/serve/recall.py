"""Owns what models said around their calls of tools, by the calls' ids.

A model that reasons before it calls needs its reasoning back until its answer is final, and many
clients send it back without. It does not know dialects, nor how messages are rendered.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ingle.chat.message import Message, ToolCall

LIMIT_CHARS = 16 << 20
_ANALYSIS = "analysis"


@dataclass(frozen=True)
class Said:
    """A turn that ended in calls, as the model wrote it; calls: by id, as clients saw them."""

    messages: tuple[Message, ...]
    calls: dict[str, ToolCall]

    @property
    def reasoning(self) -> str:
        """What was thought in it."""
        own = [m.content for m in self.messages if m.channel == _ANALYSIS and m.recipient is None]
        return "\n\n".join([*own, *(m.reasoning for m in self.messages if m.reasoning)])

    @property
    def text(self) -> str:
        """What the client was shown of it besides."""
        shown = (m for m in self.messages if m.recipient is None and m.channel != _ANALYSIS)
        return "\n\n".join(m.content for m in shown if m.content)

    @property
    def num_chars(self) -> int:
        """Its size, as far as it counts."""
        return sum(len(m.content) + len(m.reasoning or "") + 256 for m in self.messages)

    def tells(self, message: Message) -> bool:
        """Whether a client's message tells of all this, and of nothing else."""
        if {call.id for call in message.tool_calls} != self.calls.keys():
            return False
        same_calls = all(_same(call, self.calls[call.id or ""]) for call in message.tool_calls)
        thought, text = message.reasoning, message.content.strip()
        return (
            same_calls
            and (text == "" or text == self.text.strip())
            and (not thought or thought.strip() == self.reasoning.strip())
        )


class Recall:
    """The latest turns that ended in calls, up to `limit_chars` characters of them."""

    def __init__(self, limit_chars: int = LIMIT_CHARS) -> None:
        self._limit_chars, self._num_chars = limit_chars, 0
        self._turns: OrderedDict[str, Said] = OrderedDict()  # by the first call's id
        self._firsts: dict[str, str] = {}  # that id, by each call's

    def __len__(self) -> int:
        return len(self._turns)

    def keep(self, messages: Iterable[Message], calls: Sequence[ToolCall]) -> None:
        """Remembers a turn. calls: those it ended in, if any."""
        said = Said(tuple(messages), {call.id: call for call in calls if call.id is not None})
        if not said.calls or said.num_chars > self._limit_chars:
            return
        first = next(iter(said.calls))
        self._forget(first)
        self._turns[first] = said
        self._firsts.update(dict.fromkeys(said.calls, first))
        self._num_chars += said.num_chars
        while self._num_chars > self._limit_chars:
            self._forget(next(iter(self._turns)))

    def restored(self, messages: Iterable[Message]) -> tuple[Message, ...]:
        """A client's messages, with what they left out of turns that are remembered.

        A turn that the client tells of as it was comes back as the model wrote it; one that was
        changed, or reasoning that the client brings, is left as the client says.
        """
        return tuple(part for message in messages for part in self._restored(message))

    def _restored(self, message: Message) -> tuple[Message, ...]:
        said = self._find(message)
        if said is None:
            return (message,)
        if said.tells(message):
            return said.messages
        return (
            message if message.reasoning else replace(message, reasoning=said.reasoning or None),
        )

    def _find(self, message: Message) -> Said | None:
        if message.role != "assistant" or message.recipient is not None:
            return None
        for call in message.tool_calls:
            first = self._firsts.get(call.id or "")
            if first is not None:
                self._turns.move_to_end(first)
                return self._turns[first]
        return None

    def _forget(self, first: str) -> None:
        said = self._turns.pop(first, None)
        if said is None:
            return
        self._num_chars -= said.num_chars
        for call_id in said.calls:
            self._firsts.pop(call_id, None)


def _same(one: ToolCall, other: ToolCall) -> bool:
    """Whether two calls are equal, however their arguments are spaced."""
    return one.name == other.name and _value(one.arguments) == _value(other.arguments)


def _value(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
