"""Owns the events of a reply that is being written: what crosses from a chat format to its readers.

Every event carries the `ids` it came from, and the ids of all events in order are the ids that
were parsed: nothing a model said is lost. It does not know any chat format.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingle.chat.message import Message


@dataclass(frozen=True, slots=True)
class MessageStart:
    """A message begins; its header is complete.

    channel: "analysis" (reasoning), "commentary" (calls and notes) or "final" (the answer) where
    the role is "assistant"; what the header says, or None, elsewhere. recipient: the tool that is
    called, "functions.get_weather", or None. content_type: as written, "<|constrain|>json".
    name: of a tool, where the role is "tool", or of a speaker.
    """

    ids: tuple[int, ...]
    role: str
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of a message that nobody in particular is addressed by. `text` is never empty."""

    ids: tuple[int, ...]
    channel: str | None
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of what a tool is handed: JSON for functions, code for "python"."""

    ids: tuple[int, ...]
    channel: str | None
    recipient: str
    text: str


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """A message is over; `message` is all of it.

    complete: false where the stream ended, or was broken into, before the message did. A call
    that is not complete must not be made.
    """

    ids: tuple[int, ...]
    message: Message
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Repair:
    """Something stood where the format has no place for it, and was put right.

    rule: the name of the rule (`ingle.chat.harmony.repairs`). detail: what stood there. ids: of
    what belongs to no message; empty where the ids belong to a message after all.
    """

    ids: tuple[int, ...]
    rule: str
    detail: str = ""


Event = MessageStart | TextDelta | ToolCallDelta | MessageEnd | Repair
