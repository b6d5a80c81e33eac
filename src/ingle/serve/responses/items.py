"""Owns items of the Responses API: those that come in as messages, and the shapes that go out."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ingle.chat.message import Message
from ingle.chat.openai_messages import read_messages
from ingle.errors import IngleError, UnsupportedError
from ingle.serve.responses.tools import as_arguments, qualified

_ENCODED = "ingle1:"  # before reasoning that a client carries along


def input_items(said: str | Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """The input as items, each with an id. Raises IngleError."""
    if isinstance(said, str):
        said = [{"role": "user", "content": [{"type": "input_text", "text": said}]}]
    items: list[dict[str, Any]] = []
    for item in said or ():
        kind = item.get("type") or ("message" if "role" in item else None)
        if not isinstance(kind, str):
            where = f"input.{len(items)}.type"
            raise IngleError(where, f"an item has a type, but got {dict(item)!r:.80}")
        given = item.get("id")
        name = (
            given
            if isinstance(given, str) and given
            else new_id("msg" if kind == "message" else "item")
        )
        items.append({**item, "type": kind, "id": name})
    return items


def read_items(items: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages that items are; what belongs to one turn of the assistant is one message.

    Raises IngleError naming the item.
    """
    found: list[Message] = []
    for index, item in enumerate(items):
        where = f"input.{index}"
        made = _message(where, item)
        last = found[-1] if found else None
        if made is not None and last is not None and _joins(last, made):
            found[-1] = _joined(last, made)
        elif made is not None:
            found.append(made)
    return found


def new_id(prefix: str) -> str:
    """A fresh id of a kind of object."""
    return f"{prefix}_{secrets.token_hex(16)}"


def encoded(reasoning: str) -> str:
    """Reasoning as clients without a state carry it along: not encrypted, only out of sight."""
    return _ENCODED + base64.b64encode(reasoning.encode("utf-8", "surrogatepass")).decode()


def _message(where: str, item: Mapping[str, Any]) -> Message | None:
    kind = item["type"]
    if kind == "message":
        said = {"role": item.get("role"), "content": item.get("content")}
        return _read(where, said)
    if kind in ("function_call", "custom_tool_call"):
        return _read(where, {"role": "assistant", "content": None, "tool_calls": [_call(item)]})
    if kind in ("function_call_output", "custom_tool_call_output"):
        said = {"role": "tool", "content": item.get("output"), "tool_call_id": item.get("call_id")}
        return _read(where, said)
    if kind == "reasoning":
        thought = _reasoning(where, item)
        return _read(where, {"role": "assistant", "reasoning": thought}) if thought else None
    if kind == "item_reference":
        rule = "items are sent whole, but got a reference"
        raise UnsupportedError(where, rule, "use previous_response_id")
    raise UnsupportedError(
        f"{where}.type", f"it must be a known kind of item, but got {kind!r:.60}"
    )


def _read(where: str, said: dict[str, Any]) -> Message:
    """A message of the Chat API, whose mistakes are told where they stand here."""
    try:
        (message,) = read_messages([said])
    except IngleError as error:
        place = error.where.replace("messages[0]", where, 1)
        raise type(error)(place, error.rule, error.hint) from None
    return message


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    arguments = item.get("arguments")
    if item["type"] == "custom_tool_call" and isinstance(item.get("input"), str):
        arguments = as_arguments(item["input"])
    return {
        "id": item.get("call_id") or item.get("id"),
        "type": "function",
        "function": {"name": _name(item), "arguments": arguments},
    }


def _name(item: Mapping[str, Any]) -> Any:
    return (
        qualified(item["namespace"], item.get("name"))
        if item.get("namespace")
        else item.get("name")
    )


def _reasoning(where: str, item: Mapping[str, Any]) -> str:
    """The text of reasoning: as it is, as it was encoded, or as its summary."""
    for name in ("content", "encrypted_content", "summary"):
        value = item.get(name)
        if name == "encrypted_content":
            text = _decoded(value)
        elif isinstance(value, list):
            text = "\n\n".join(_text(f"{where}.{name}.{i}", part) for i, part in enumerate(value))
        elif value is None:
            text = ""
        else:
            raise IngleError(f"{where}.{name}", f"it is a list of parts, but got {value!r:.80}")
        if text:
            return text
    return ""


def _text(where: str, part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else None
    if not isinstance(text, str):
        raise IngleError(where, f"a part has a text, but got {part!r:.80}")
    return text


def _decoded(value: Any) -> str:
    """Reasoning that this kind of server encoded; others' is not to be read."""
    if not isinstance(value, str) or not value.startswith(_ENCODED):
        return ""
    try:
        return base64.b64decode(value.removeprefix(_ENCODED), validate=True).decode()
    except ValueError:
        return ""


def _joins(last: Message, made: Message) -> bool:
    """Whether two items of the assistant are of one turn."""
    if last.role != "assistant" or made.role != "assistant":
        return False
    return not last.tool_calls or not (made.content or made.reasoning)


def _joined(last: Message, made: Message) -> Message:
    texts = [text for text in (last.content, made.content) if text]
    thoughts = [text for text in (last.reasoning, made.reasoning) if text]
    return replace(
        last,
        content="\n\n".join(texts),
        reasoning="\n\n".join(thoughts) or None,
        tool_calls=(*last.tool_calls, *made.tool_calls),
    )
