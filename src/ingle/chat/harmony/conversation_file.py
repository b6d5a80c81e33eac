"""Owns reading a conversation file in openai-harmony's own JSON shape.

``{"messages": [...], "auto_drop_analysis": true}``, where each message has `role`, `content` and
perhaps `name`, `channel`, `recipient`, `content_type`. Fields that the library does not know are
passed over, as it does. It does not know OpenAI's HTTP dialects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingle.chat.harmony.content import (
    EFFORTS,
    Content,
    DeveloperContent,
    Effort,
    FunctionTool,
    HarmonyMessage,
    SystemContent,
    ToolNamespace,
)
from ingle.chat.harmony.policy import AnalysisPolicy
from ingle.chat.message import ROLES
from ingle.errors import IngleError


@dataclass(frozen=True)
class ConversationFile:
    """Messages, and which of their reasoning the file asks to render."""

    messages: tuple[HarmonyMessage, ...]
    policy: AnalysisPolicy


def read_conversation(text: str) -> ConversationFile:
    """A conversation from JSON text. Raises IngleError naming the field."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:80]
        raise IngleError("conversation", f"it is JSON, but got: {said}") from None
    file = _object("conversation", value)
    drops = file.get("auto_drop_analysis", True)
    if not isinstance(drops, bool):
        raise IngleError("auto_drop_analysis", f"it is true or false, but got {drops!r:.60}")
    listed = _list("messages", file.get("messages"))
    messages = tuple(_message(f"messages[{i}]", message) for i, message in enumerate(listed))
    return ConversationFile(messages, AnalysisPolicy.LIBRARY if drops else AnalysisPolicy.KEEP_ALL)


def _message(where: str, value: Any) -> HarmonyMessage:
    message = _object(where, value)
    role = message.get("role")
    if role not in ROLES:
        raise IngleError(f"{where}.role", f"a role is one of {', '.join(ROLES)}, but got {role!r}")
    content = message.get("content")
    parts = [content] if isinstance(content, str) else _list(f"{where}.content", content)
    return HarmonyMessage(
        role,
        tuple(_content(f"{where}.content[{i}]", part) for i, part in enumerate(parts)),
        name=_text(where, message, "name"),
        channel=_text(where, message, "channel"),
        recipient=_text(where, message, "recipient"),
        content_type=_text(where, message, "content_type"),
    )


def _content(where: str, value: Any) -> Content:
    if isinstance(value, str):
        return value
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "text":
        return _needed(where, value, "text")
    if kind == "system_content":
        return _system(where, value)
    if kind == "developer_content":
        namespaces = _namespaces(f"{where}.tools", value.get("tools"))
        return DeveloperContent(_text(where, value, "instructions"), namespaces)
    rule = "a part's type is text, system_content or developer_content"
    raise IngleError(f"{where}.type", f"{rule}, but got {kind!r:.60}")


def _system(where: str, value: Mapping[str, Any]) -> SystemContent:
    """What a part says; a field that is left out is left out of the text too."""
    given = value.get("channel_config")
    config = None if given is None else _object(f"{where}.channel_config", given)
    required = config.get("channel_required", True) if config else True
    if not isinstance(required, bool):
        rule = f"it is true or false, but got {required!r:.60}"
        raise IngleError(f"{where}.channel_config.channel_required", rule)
    return SystemContent(
        identity=_text(where, value, "model_identity"),
        effort=_effort(where, value.get("reasoning_effort")),
        date=_text(where, value, "conversation_start_date"),
        knowledge_cutoff=_text(where, value, "knowledge_cutoff"),
        channels=None if config is None else _channels(f"{where}.channel_config", config),
        channel_required=required,
        namespaces=_namespaces(f"{where}.tools", value.get("tools")),
    )


def _effort(where: str, value: Any) -> Effort | None:
    if value is None:
        return None
    for effort in EFFORTS:
        if isinstance(value, str) and value.lower() == effort:
            return effort
    rule = f"the effort is Low, Medium or High, but got {value!r:.60}"
    raise IngleError(f"{where}.reasoning_effort", rule)


def _channels(where: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    named = _list(f"{where}.valid_channels", config.get("valid_channels"))
    if not all(isinstance(name, str) for name in named):
        raise IngleError(f"{where}.valid_channels", "channels are strings")
    return tuple(named)


def _namespaces(where: str, value: Any) -> tuple[ToolNamespace, ...]:
    """Namespaces in the order of their keys, which is how the library shows them."""
    spaces = {} if value is None else _object(where, value)
    return tuple(_namespace(f"{where}.{key}", key, spaces[key]) for key in sorted(spaces))


def _namespace(where: str, key: str, value: Any) -> ToolNamespace:
    space = _object(where, value)
    listed = _list(f"{where}.tools", space.get("tools"))
    tools = tuple(_tool(f"{where}.tools[{i}]", tool) for i, tool in enumerate(listed))
    name, about = _needed(where, space, "name"), _text(where, space, "description")
    return ToolNamespace(name, about, tools, key)


def _tool(where: str, value: Any) -> FunctionTool:
    tool = _object(where, value)
    about = _text(where, tool, "description") or ""
    return FunctionTool(_needed(where, tool, "name"), about, tool.get("parameters"))


def _object(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise IngleError(where, f"it is an object, but got {value!r:.60}")
    return value


def _list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise IngleError(where, f"it is a list, but got {value!r:.60}")
    return value


def _text(where: str, value: Mapping[str, Any], field: str) -> str | None:
    found = value.get(field)
    if found is not None and not isinstance(found, str):
        raise IngleError(f"{where}.{field}", f"it is a string, but got {found!r:.60}")
    return found


def _needed(where: str, value: Mapping[str, Any], field: str) -> str:
    found = _text(where, value, field)
    if found is None:
        raise IngleError(f"{where}.{field}", "it is a string, but got none")
    return found
