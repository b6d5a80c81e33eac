"""Owns Ollama's messages: read into `Message`, and an answer's calls written back.

Ollama's calls need no ids: a result belongs to the first call of its tool's name that has none
yet. It does not know how messages are rendered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictStr

from ingle.chat.message import Message, ToolCall
from ingle.chat.openai_messages import read_messages
from ingle.errors import UnsupportedError

_NO_IMAGES = "leave them out: the models that ingle runs read text"


class OllamaMessage(BaseModel):
    """One message of a chat. What is not listed here is tolerated."""

    model_config = ConfigDict(extra="allow")

    role: StrictStr
    content: StrictStr | None = None
    thinking: StrictStr | None = None
    images: list[Any] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_name: StrictStr | None = None
    tool_call_id: StrictStr | None = None


def read(messages: Sequence[OllamaMessage]) -> tuple[Message, ...]:
    """The messages, results joined to their calls. Raises IngleError naming the field."""
    open_calls: list[tuple[str, str]] = []  # (name, id) of calls without a result
    told: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        check_no_images(f"messages[{index}].images", message.images)
        one: dict[str, Any] = {"role": message.role, "content": message.content or ""}
        if message.role == "assistant":
            one["thinking"] = message.thinking
            one["tool_calls"] = _with_ids(message.tool_calls or [], index)
            open_calls += [_named(call) for call in one["tool_calls"]]
        if message.role == "tool":
            one["name"] = message.tool_name
            one["tool_call_id"] = _answered(open_calls, message)
        told.append(one)
    return read_messages(told)


def check_no_images(where: str, images: Sequence[Any] | None) -> None:
    """Raise UnsupportedError where there are pictures."""
    if images:
        rule = f"the model reads text alone, but got {len(images)} images"
        raise UnsupportedError(where, rule, _NO_IMAGES)


def arguments_of(call: ToolCall) -> dict[str, Any] | None:
    """A call's arguments as the object that Ollama carries; None where they are no such thing."""
    try:
        found = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def as_object(index: int, call: ToolCall, arguments: dict[str, Any]) -> dict[str, Any]:
    """One entry of ``tool_calls``."""
    called = {"index": index, "name": call.name, "arguments": arguments}
    return {**({} if call.id is None else {"id": call.id}), "function": called}


def _with_ids(calls: Sequence[Any], turn: int) -> list[Any]:
    """The calls in OpenAI's shape; those without an id get one."""
    return [
        {**call, "type": "function", "id": call.get("id") or f"call_{turn}_{i}"}
        for i, call in enumerate(calls)
    ]


def _named(call: dict[str, Any]) -> tuple[str, str]:
    called = call.get("function")
    name = called.get("name") if isinstance(called, dict) else None
    return str(name), str(call["id"])


def _answered(open_calls: list[tuple[str, str]], result: OllamaMessage) -> str | None:
    """The id of the call that a result answers, which is then no longer open."""
    wanted, name = result.tool_call_id, result.tool_name
    for index, (called, call_id) in enumerate(open_calls):
        if call_id == wanted or (wanted is None and name in (None, called)):
            return open_calls.pop(index)[1]
    return wanted
