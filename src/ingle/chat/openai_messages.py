"""Owns reading OpenAI's ``messages``, as they come out of JSON, into `Message`.

It is lenient where clients differ: reasoning under any of three names, arguments as text, as an
object or escaped twice, empty lists. It does not know what the messages are rendered for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ingle.chat.message import ROLES, Message, ToolCall
from ingle.errors import IngleError, UnsupportedError

_TEXT_FIELDS = ("name", "tool_call_id")
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
_CALL_FIELDS = ("tool_calls", "function_call")
_LATER_FIELDS = ("audio", "images", "annotations")
_IGNORED_FIELDS = ("id", "reasoning_details")
_FIELDS = frozenset(
    {"role", "content", "refusal", *_TEXT_FIELDS, *_REASONING_FIELDS, *_CALL_FIELDS}
    | {*_LATER_FIELDS, *_IGNORED_FIELDS}
)
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
_REASONING_PARTS = ("thinking", "reasoning")


def read_messages(messages: Any) -> tuple[Message, ...]:
    """The messages of a list of objects, straight out of JSON; at least one.

    Content is a string or a list of text parts, which are joined. Raises IngleError naming
    the field, UnsupportedError for fields and parts that cannot be rendered.
    """
    if not isinstance(messages, list) or not messages:
        rule = f"messages are a list with at least one message, but got {messages!r:.80}"
        raise IngleError("messages", rule)
    return tuple(_message(f"messages[{i}]", value) for i, value in enumerate(messages))


def _message(where: str, value: Any) -> Message:
    if not isinstance(value, Mapping):
        raise IngleError(where, f"a message is an object, but got {value!r:.80}")
    role = value.get("role")
    if role not in ROLES:
        raise IngleError(f"{where}.role", f"a role is one of {', '.join(ROLES)}, but got {role!r}")
    for key in value:
        if key in _LATER_FIELDS and value[key]:
            raise UnsupportedError(f"{where}.{key}", "messages hold text, but got this field")
        if key not in _FIELDS:
            raise IngleError(where, f"a message has known fields only, but got {key!r:.80}")
    assistant = role == "assistant"
    thought, content = _content(f"{where}.content", value.get("content"), assistant)
    refusal = _text(f"{where}.refusal", value.get("refusal")) or ""
    return Message(
        role,
        content or refusal,
        name=_text(f"{where}.name", value.get("name")),
        tool_call_id=_text(f"{where}.tool_call_id", value.get("tool_call_id")),
        tool_calls=_calls(where, value) if assistant else (),
        reasoning=(_reasoning(where, value) or thought or None) if assistant else None,
    )


def _text(where: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise IngleError(where, f"it is a string, but got {value!r:.80}")


def _reasoning(where: str, value: Mapping[str, Any]) -> str | None:
    """Clients that know two names of the field send the same text under both."""
    said = [_text(f"{where}.{field}", value.get(field)) for field in _REASONING_FIELDS]
    return next((text for text in said if text), None)


def _content(where: str, value: Any, assistant: bool) -> tuple[str, str]:
    """Reasoning and text. Only an assistant's message may have neither."""
    if isinstance(value, str):
        return "", value
    if value is None and assistant:
        return "", ""
    if not isinstance(value, list):
        rule = f"content is a string or a list of parts, but got {value!r:.80}"
        raise IngleError(where, rule)
    parts = [_part(f"{where}[{i}]", part, assistant) for i, part in enumerate(value)]
    thought = "".join(text for is_reasoning, text in parts if is_reasoning)
    return thought, "".join(text for is_reasoning, text in parts if not is_reasoning)


def _part(where: str, part: Any, assistant: bool) -> tuple[bool, str]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind is None:
        raise IngleError(where, f"a part is an object with a type, but got {part!r:.80}")
    if not (kind in _TEXT_PARTS or (assistant and kind in _REASONING_PARTS)):
        raise UnsupportedError(f"{where}.type", f"parts are text, but got {kind!r:.80}")
    field = kind if isinstance(part.get(kind), str) else "text"
    text = part.get(field)
    if not isinstance(text, str):
        raise IngleError(f"{where}.{field}", f"it is a string, but got {text!r:.80}")
    return kind in _REASONING_PARTS, text


def _calls(where: str, value: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    listed, single = value.get("tool_calls") or [], value.get("function_call")
    if not isinstance(listed, list):
        raise IngleError(f"{where}.tool_calls", f"it is a list, but got {listed!r:.80}")
    calls = [_call(f"{where}.tool_calls[{i}]", call) for i, call in enumerate(listed)]
    if single:
        calls.append(_call(f"{where}.function_call", {"function": single}))
    return tuple(calls)


def _call(where: str, value: Any) -> ToolCall:
    if not isinstance(value, Mapping):
        raise IngleError(where, f"a call is an object, but got {value!r:.80}")
    if value.get("type", "function") != "function":
        rule = f"calls are of functions, but got {value['type']!r:.80}"
        raise UnsupportedError(f"{where}.type", rule)
    called = value.get("function")
    name = called.get("name") if isinstance(called, Mapping) else None
    if not isinstance(called, Mapping) or not isinstance(name, str) or not name:
        rule = f"a call has a function with a name, but got {called!r:.80}"
        raise IngleError(f"{where}.function", rule)
    arguments = _arguments(f"{where}.function.arguments", called.get("arguments"))
    return ToolCall(name, arguments, _text(f"{where}.id", value.get("id")))


def _arguments(where: str, value: Any) -> str:
    """Arguments as JSON text: as they were sent, written out, or unescaped once too often."""
    if value is None:
        return "{}"
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        raise IngleError(where, f"it is JSON text or an object, but got {value!r:.80}")
    if value[:1] != '"':
        return value
    try:
        inner = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return inner if isinstance(inner, str) else value
