"""Owns turning messages into token ids, as openai-harmony 0.0.8 does, never through text.

What anybody said is encoded with special tokens disabled. It does not know which messages a
conversation consists of, nor which of them are shown again (`lowering`, `policy`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ingle.chat.harmony.content import Content, DeveloperContent, HarmonyMessage, SystemContent
from ingle.chat.harmony.prose import developer_text, system_text
from ingle.chat.harmony.tokens import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    CONSTRAIN_TEXT,
    END,
    FINAL,
    MESSAGE,
    RETURN,
    START,
)
from ingle.errors import IngleError
from ingle.tokenizer import o200k_harmony

_HELD = {SystemContent: "system", DeveloperContent: "developer"}
_TO_EVERYBODY = "all"


def render(
    messages: Iterable[HarmonyMessage],
    opens: str | None = "assistant",
    for_training: bool = False,
) -> list[int]:
    """Ids of messages, and of the start of a turn of the role `opens` (None: no start).

    Without `opens`, the ids of some first messages begin the ids of all. for_training: an answer
    that stands last ends in <|return|>. Raises IngleError for a tool's message without a name and
    for content in a role that cannot have it.
    """
    listed = list(messages)
    ids: list[int] = []
    functions = has_functions(listed)
    for message in listed:
        _render_message(message, functions, ids)
    last = listed[-1] if listed else None
    if for_training and last and (last.role, last.channel) == ("assistant", FINAL):
        ids[-1] = RETURN
    if opens is not None:
        ids += (START, *_piece(opens))
    return ids


def has_functions(messages: Iterable[HarmonyMessage]) -> bool:
    """Whether function tools are declared anywhere, of which system messages then tell."""
    return any(
        isinstance(part, DeveloperContent) and part.has_functions
        for message in messages
        for part in message.content
    )


def _render_message(message: HarmonyMessage, functions: bool, ids: list[int]) -> None:
    ids.append(START)
    ids += _author(message)
    if message.recipient is not None and message.recipient != _TO_EVERYBODY:
        ids += _piece(f" to={message.recipient}")
    if message.channel is not None:
        ids.append(CHANNEL)
        ids += _piece(message.channel)
    if message.content_type is not None:
        ids += _content_type(message.content_type)
    ids.append(MESSAGE)
    for content in message.content:
        ids += _content(content, message.role, functions)
    is_call = message.role == "assistant" and message.recipient is not None
    ids.append(CALL if is_call else END)


def _author(message: HarmonyMessage) -> tuple[int, ...]:
    if message.role == "tool":
        if message.name is None:
            raise IngleError("messages", "a tool's message names the tool, but got no name")
        return _piece(message.name)
    name = () if message.name is None else _piece(f":{message.name}")
    return _piece(message.role) + name


def _content_type(written: str) -> tuple[int, ...]:
    if not written.startswith(CONSTRAIN_TEXT):
        return _piece(f" {written}")
    rest = written.removeprefix(CONSTRAIN_TEXT)
    return (*_piece(" "), CONSTRAIN, *(_piece(rest) if rest else ()))


def _content(content: Content, role: str, functions: bool) -> list[int]:
    if isinstance(content, str):
        return o200k_harmony().encode(content)
    needed = _HELD[type(content)]
    if role != needed:
        rule = f"{needed} content stands in a message of that role, but got {role}"
        raise IngleError("messages", rule)
    if isinstance(content, SystemContent):
        return o200k_harmony().encode(system_text(content, functions))
    return o200k_harmony().encode(developer_text(content))


@lru_cache(maxsize=1024)
def _piece(text: str) -> tuple[int, ...]:
    """Ids of a part of a header; there are few different ones."""
    return tuple(o200k_harmony().encode(text))
