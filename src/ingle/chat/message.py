"""Owns `Message` and `ToolCall`: one thing said, by whom, to whom, in no model's format.

It does not know templates, tokens, or any HTTP dialect beyond OpenAI's names for its fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True)
class ToolCall:
    """A function the assistant asks for. arguments: as written, which should be a JSON object."""

    name: str
    arguments: str
    id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """In OpenAI's shape."""
        called = {"name": self.name, "arguments": self.arguments}
        named = {} if self.id is None else {"id": self.id}
        return {**named, "type": "function", "function": called}


@dataclass(frozen=True)
class Message:
    """One turn, or one of the messages that a turn consists of.

    name: tells speakers of one role apart; of a tool's message, the tool. tool_call_id: of the
    call that a tool answers, or that the message with this `recipient` is. tool_calls, reasoning:
    of an assistant's turn told as one message, as HTTP dialects do. channel, recipient,
    content_type: of a message as the model wrote it, one for each channel and call: "analysis",
    "commentary" or "final"; the tool that is addressed ("functions.get_weather"); and what the
    content is ("<|constrain|>json").
    """

    role: str
    content: str
    name: str | None = None
    tool_call_id: str | None = None
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields that chat templates name and that are set, under their OpenAI names."""
        found: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            found["name"] = self.name
        if self.tool_call_id is not None:
            found["tool_call_id"] = self.tool_call_id
        if self.tool_calls:
            found["tool_calls"] = [call.as_dict() for call in self.tool_calls]
        if self.reasoning is not None:
            found["reasoning_content"] = self.reasoning
        return found
