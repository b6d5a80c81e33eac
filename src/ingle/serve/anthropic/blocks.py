"""Owns Anthropic's messages, read into `Message`: texts, thinking, calls and their results.

What clients send for Anthropic's own sake (cache_control, signatures, citations) means nothing here
and is tolerated. It does not know how messages are rendered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictStr

from ingle.chat.message import Message, ToolCall
from ingle.errors import IngleError, UnsupportedError

_ROLES = ("user", "assistant", "system")
_GAP = "\n\n"  # between blocks of text of one message
_ERROR = "Error: "  # before a result that is one, unless its text says so itself

Content = StrictStr | list[dict[str, Any]]


class AnthropicMessage(BaseModel):
    """One message. What is not listed here is tolerated."""

    model_config = ConfigDict(extra="allow")

    role: StrictStr
    content: Content


def read(messages: Sequence[AnthropicMessage], system: Content | None) -> tuple[Message, ...]:
    """A system text and the messages. Raises IngleError naming the field."""
    told: list[Message] = []
    if system:
        told.append(Message("system", _texts("system", _blocks(system))))
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        if message.role not in _ROLES:
            rule = f"a role is one of {', '.join(_ROLES)}, but got {message.role[:80]!r}"
            raise IngleError(f"{where}.role", rule)
        blocks = _blocks(message.content)
        if message.role == "assistant":
            told.append(_assistant(f"{where}.content", blocks))
        elif message.role == "system":
            told.append(Message("system", _texts(f"{where}.content", blocks)))
        else:
            told += _user(f"{where}.content", blocks)
    if messages[-1].role == "assistant":
        rule = "the last message is one to be answered, but got the assistant's to be continued"
        raise UnsupportedError("messages", rule, "end with a message of the user's")
    return tuple(told)


def _blocks(content: str | Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _assistant(where: str, blocks: Sequence[Mapping[str, Any]]) -> Message:
    """A turn of the model's: what it thought, said and called."""
    texts, thoughts, calls = [], [], []
    for index, block in enumerate(blocks):
        at, kind = f"{where}.{index}", block.get("type")
        if kind == "text":
            texts.append(_text(at, block, "text"))
        elif kind == "thinking":
            thoughts.append(_text(at, block, "thinking"))
        elif kind == "tool_use":
            calls.append(_call(at, block))
        elif kind != "redacted_thinking":  # nobody but its maker can read it
            raise _unknown(at, kind)
    thought = _GAP.join(filter(None, thoughts)) or None
    said = _GAP.join(filter(None, texts))
    return Message("assistant", said, tool_calls=tuple(calls), reasoning=thought)


def _user(where: str, blocks: Sequence[Mapping[str, Any]]) -> Iterator[Message]:
    """What the user says, and the results of tools, in the order in which they stand."""
    texts: list[str] = []
    for index, block in enumerate(blocks):
        at, kind = f"{where}.{index}", block.get("type")
        if kind != "tool_result":
            texts.append(_readable(at, block))
            continue
        if texts:
            yield Message("user", _GAP.join(texts))
            texts = []
        call_id = _text(at, block, "tool_use_id")
        yield Message("tool", _result(at, block), tool_call_id=call_id)
    if texts or not blocks:
        yield Message("user", _GAP.join(texts))


def _result(where: str, block: Mapping[str, Any]) -> str:
    content = block.get("content") or ""
    if not isinstance(content, str | list):
        rule = f"it is text or a list of blocks, but got {content!r:.80}"
        raise IngleError(f"{where}.content", rule)
    text = _texts(f"{where}.content", _blocks(content))
    said = "error" in text[:200].lower()
    return _ERROR + text if block.get("is_error") is True and not said else text


def _texts(where: str, blocks: Sequence[Any]) -> str:
    return _GAP.join(_readable(f"{where}.{i}", block) for i, block in enumerate(blocks))


def _readable(where: str, block: Any) -> str:
    """A block as text: one of text, or a document that is text."""
    kind = block.get("type") if isinstance(block, Mapping) else None
    if kind == "text":
        return _text(where, block, "text")
    if kind != "document":
        raise _unknown(where, kind)
    source = block.get("source")
    if not isinstance(source, Mapping) or source.get("type") != "text":
        rule = f"a document is plain text, but got {source!r:.80}"
        raise UnsupportedError(f"{where}.source", rule)
    parts = [block.get("title"), block.get("context"), _text(f"{where}.source", source, "data")]
    return "\n".join(part for part in parts if isinstance(part, str) and part)


def _call(where: str, block: Mapping[str, Any]) -> ToolCall:
    given = block.get("input")
    if not isinstance(given, Mapping):
        raise IngleError(f"{where}.input", f"it is an object, but got {given!r:.80}")
    written = json.dumps(given, ensure_ascii=False)
    return ToolCall(_text(where, block, "name"), written, _text(where, block, "id"))


def _text(where: str, block: Mapping[str, Any], field: str) -> str:
    found = block.get(field)
    if not isinstance(found, str):
        raise IngleError(f"{where}.{field}", f"it is a string, but got {found!r:.80}")
    return found


def _unknown(where: str, kind: Any) -> IngleError:
    rule = "blocks are text, thinking, tool_use, tool_result and documents of text"
    hint = "leave it out: the models that ingle runs read text" if kind == "image" else ""
    return UnsupportedError(f"{where}.type", f"{rule}, but got {kind!r:.80}", hint)
