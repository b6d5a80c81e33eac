"""Owns `Message` and `Conversation`: what was said, by whom, in no model's format.

It does not know templates, tokens, or the shape of any HTTP request beyond its messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingle.errors import IngleError, UnsupportedError

ROLES = ("system", "developer", "user", "assistant", "tool")

_TEXT_FIELDS = ("name", "tool_call_id")
_LATER_FIELDS = ("tool_calls", "function_call", "refusal", "audio", "annotations")


@dataclass(frozen=True)
class Message:
    """One turn. `name` tells speakers of one role apart; `tool_call_id` is what a tool answers."""

    role: str
    content: str
    name: str | None = None
    tool_call_id: str | None = None

    def as_dict(self) -> dict[str, str]:
        """The fields that are set, under their OpenAI names."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Conversation:
    """Messages in the order they were said; at least one."""

    messages: tuple[Message, ...]

    @classmethod
    def from_openai(cls, messages: Any) -> Conversation:
        """A conversation from OpenAI's ``messages``: a list of objects, straight out of JSON.

        Content is a string or a list of text parts, which are joined. Raises IngleError naming
        the field, UnsupportedError for fields and parts that this version cannot render.
        """
        if not isinstance(messages, list) or not messages:
            rule = f"messages are a list with at least one message, but got {messages!r:.80}"
            raise IngleError("messages", rule)
        return cls(tuple(_message(f"messages[{i}]", value) for i, value in enumerate(messages)))


def _message(where: str, value: Any) -> Message:
    if not isinstance(value, Mapping):
        raise IngleError(where, f"a message is an object, but got {value!r:.80}")
    role = value.get("role")
    if role not in ROLES:
        raise IngleError(f"{where}.role", f"a role is one of {', '.join(ROLES)}, but got {role!r}")
    for key in value:
        if key in _LATER_FIELDS and value[key]:
            raise UnsupportedError(f"{where}.{key}", "messages hold text, but got this field")
        if key not in ("role", "content", *_TEXT_FIELDS, *_LATER_FIELDS):
            raise IngleError(where, f"a message has known fields only, but got {key!r:.80}")
    for key in _TEXT_FIELDS:
        if value.get(key) is not None and not isinstance(value[key], str):
            raise IngleError(f"{where}.{key}", f"it is a string, but got {value[key]!r:.80}")
    fields = {key: value.get(key) for key in _TEXT_FIELDS}
    return Message(role, _content(f"{where}.content", value.get("content"), role), **fields)


def _content(where: str, value: Any, role: str) -> str:
    if isinstance(value, str):
        return value
    if value is None and role == "assistant":
        return ""
    if not isinstance(value, list):
        rule = f"content is a string or a list of parts, but got {value!r:.80}"
        raise IngleError(where, rule)
    return "".join(_part(f"{where}[{i}]", part) for i, part in enumerate(value))


def _part(where: str, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind is None:
        raise IngleError(where, f"a part is an object with a type, but got {part!r:.80}")
    if kind not in ("text", "input_text", "output_text"):
        raise UnsupportedError(f"{where}.type", f"parts are text, but got {kind!r:.80}")
    if not isinstance(part.get("text"), str):
        raise IngleError(f"{where}.text", f"it is a string, but got {part.get('text')!r:.80}")
    text: str = part["text"]
    return text
