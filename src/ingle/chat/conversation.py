"""Owns `Conversation`: messages in the order they were said.

It does not know templates, tokens, or how HTTP dialects write messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from ingle.chat.message import ROLES, Message, ToolCall
from ingle.chat.openai_messages import read_messages

__all__ = ["ROLES", "Conversation", "Message", "ToolCall"]


@dataclass(frozen=True)
class Conversation:
    """Messages in the order they were said; at least one."""

    messages: tuple[Message, ...]

    @classmethod
    def from_openai(cls, messages: Any) -> Self:
        """A conversation from OpenAI's ``messages``; see `read_messages`.

        Raises IngleError naming the field, UnsupportedError for parts that cannot be rendered.
        """
        return cls(read_messages(messages))

    def plus(self, messages: Iterable[Message]) -> Self:
        """This conversation with more messages at its end."""
        return type(self)((*self.messages, *messages))
