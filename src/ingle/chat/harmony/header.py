"""Owns reading a message's header: author, channel, recipient and content type, in any order.

A header as openai-harmony renders it is read as it reads it; from any other, what is there is
kept and the rest reported. It does not know what stands before or after a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ingle.chat.harmony import repairs
from ingle.chat.harmony.tokens import (
    CHANNEL,
    CHANNELS,
    COMMENTARY,
    CONSTRAIN,
    CONSTRAIN_TEXT,
    FINAL,
    FIRST_SPECIAL,
)
from ingle.chat.message import ROLES
from ingle.tokenizer.o200k import ordinary_tokens

MAX_IDS = 64
_NAMED_ROLES = tuple(role for role in ROLES if role != "tool")
_CHANNEL = re.compile(rf"\s*({'|'.join(CHANNELS)})")
_CHANNEL_WORD = re.compile(r"\s*[^\s<]+")
_RECIPIENT = re.compile(r"[A-Za-z0-9_.-]+")
_BARE_RECIPIENT = re.compile(r"python|[A-Za-z_][\w-]*\.[\w.-]+")
_ADDRESS = re.compile(r"\s*to=([A-Za-z0-9_.-]+)")
_TYPE = re.compile(r"\s*(\w+)")
_BARE_TYPE = re.compile(r"[A-Za-z][\w/+.-]*")
_NO_TOOL = ("assistant", "user", "all")


@dataclass(frozen=True)
class Segment:
    """Text after a mark: <|channel|>, <|constrain|>, or None for the author's text at the front."""

    mark: int | None
    text: str


@dataclass
class Header:
    """What a header says. faults: the rules broken, each with what broke it."""

    role: str = "assistant"
    name: str | None = None
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None
    faults: list[tuple[str, str]] = field(default_factory=list)

    def fault(self, rule: str, detail: str = "") -> None:
        """Note that a rule was broken."""
        self.faults.append((rule, detail))

    def settle(self) -> Header:
        """Address nobody who is no tool, and give an assistant's message its channel."""
        if self.role != "assistant":
            return self
        if self.recipient in _NO_TOOL:
            self.fault(repairs.BAD_RECIPIENT, self.recipient or "")
            self.recipient = None
        if self.channel is None:
            self.channel = FINAL if self.recipient is None else COMMENTARY
            self.fault(repairs.NO_CHANNEL, self.channel)
        return self


def segments(ids: Iterable[int]) -> list[Segment]:
    """The texts of a header between its marks; other special tokens are passed over."""
    table = ordinary_tokens()
    marked: list[tuple[int | None, bytearray]] = [(None, bytearray())]
    for token_id in ids:
        if token_id in (CHANNEL, CONSTRAIN):
            marked.append((token_id, bytearray()))
        elif 0 <= token_id < FIRST_SPECIAL:
            marked[-1][1].extend(table[token_id])
    return [Segment(mark, bytes(text).decode("utf-8", "replace")) for mark, text in marked]


def read_header(parts: Sequence[Segment], given_role: str | None) -> Header:
    """The header of a message whose <|message|> has come. given_role: the prompt opened it."""
    header = Header()
    words = _author(header, parts[0].text.split(), given_role)
    constrained: list[str] = []
    for part in parts[1:]:
        if part.mark == CHANNEL:
            words += _channel(header, part.text).split()
        else:
            first, *others = part.text.split() or [""]
            constrained.append(CONSTRAIN_TEXT + first)
            words += others
    words = _recipient(header, words)
    _content_type(header, words, constrained)
    if header.role == "?":
        _unknown_author(header)
    return header.settle()


def read_without_message(
    parts: Sequence[Segment], given_role: str | None, after_start: bool
) -> tuple[Header, str]:
    """Header and content of a message that has no <|message|>; the content may be empty.

    after_start: what may be the beginning of a role stands after <|start|>, and is no content.
    """
    header = Header()
    text = _after_role(header, parts[0].text, given_role, after_start)
    for part in parts[1:]:
        if part.mark == CHANNEL and header.channel is None:
            text = _spaced(text, _channel(header, part.text))
        elif part.mark == CONSTRAIN and header.content_type is None and not text.strip():
            kind = _TYPE.match(part.text)
            header.content_type = CONSTRAIN_TEXT + (kind[1] if kind else "")
            text = part.text[kind.end() if kind else 0 :]
        else:
            text = _spaced(text, part.text)
        address = _ADDRESS.match(text)
        if address is not None and header.recipient is None:
            header.recipient, text = address[1], text[address.end() :]
    return header.settle(), text.strip()


def is_hopeless(parts: Sequence[Segment], given_role: str | None) -> bool:
    """Whether text at a header's place, with no mark so far, can't become a header any more."""
    text = parts[0].text
    words = [word for word in text.split() if word != given_role]
    return len(parts) == 1 and "to=" not in text and ("\n" in text.strip() or len(words) > 3)


def _spaced(before: str, after: str) -> str:
    return f"{before} {after}" if before and after else before or after


def _author(header: Header, words: list[str], given_role: str | None) -> list[str]:
    """Take the role off the front of the words; role "?" if the first names a tool, perhaps."""
    if given_role is not None:
        header.role = given_role
        while words[:1] == [given_role]:
            words = words[1:]
        return words
    if not words or words[0].startswith("to="):
        header.fault(repairs.NO_ROLE)
        return words
    first, rest = words[0], words[1:]
    role, colon, name = first.partition(":")
    if role in _NAMED_ROLES:
        header.role, header.name = role, name if colon else None
        return rest
    twice = next((r for r in _NAMED_ROLES if first.startswith(r)), None)
    if twice is not None:
        header.role = twice
        header.fault(repairs.NO_ROLE, first)
        left = first.removeprefix(twice)
        return [left, *rest] if left.startswith("to=") else rest
    if first in CHANNELS:
        header.channel = first
        header.fault(repairs.NO_ROLE, first)
        return rest
    header.role, header.name = "?", first
    return rest


def _unknown_author(header: Header) -> None:
    """An author that is no role: a tool if it addresses somebody, else the assistant after all."""
    named = header.name or ""
    if header.recipient is not None or "." in named:
        header.role = "tool"
        return
    header.role, header.name = "assistant", None
    header.fault(repairs.NO_ROLE, named)


def _after_role(header: Header, text: str, given_role: str | None, after_start: bool) -> str:
    """Headerless text, less the role word that may stand before it."""
    stripped = text.strip()
    roles = _NAMED_ROLES if given_role is None else (given_role,)
    header.role = given_role or "assistant"
    if after_start and any(role.startswith(stripped) for role in roles):
        return ""
    for role in roles:
        if stripped == role or stripped.startswith((f"{role} ", f"{role}\n")):
            header.role = role
            return stripped.removeprefix(role)
    return text


def _channel(header: Header, text: str) -> str:
    """Take a channel off the front of the text after <|channel|>."""
    known = _CHANNEL.match(text)
    word = _CHANNEL_WORD.match(text)
    written = word[0] if word else ""
    if header.channel is not None:
        header.fault(repairs.TWO_CHANNELS, written)
        return text[len(written) :]
    if known is None:
        header.fault(repairs.BAD_CHANNEL, written)
        is_cut = any(channel.startswith(text.strip()) for channel in CHANNELS)
        return "" if is_cut else text
    header.channel = known[1]
    if known[0] != written or known[0] != known[1]:
        header.fault(repairs.BAD_CHANNEL, written)
    return text[known.end() :]


def _recipient(header: Header, words: list[str]) -> list[str]:
    """Take the recipient out of the words: the first with `to=`, else one that looks like it."""
    for i, word in enumerate(words):
        if word == "to=" and i + 1 < len(words):
            header.fault(repairs.BAD_RECIPIENT, word)
            header.recipient = _tool(header, words[i + 1])
            return words[:i] + words[i + 2 :]
        if word.startswith("to="):
            header.recipient = _tool(header, word.removeprefix("to="))
            return words[:i] + words[i + 1 :]
    for i, word in enumerate(words):
        if _BARE_RECIPIENT.fullmatch(word):
            header.recipient = word
            return words[:i] + words[i + 1 :]
    return words


def _tool(header: Header, written: str) -> str | None:
    """The name that a recipient begins with."""
    name = _RECIPIENT.match(written)
    if name is None or name[0] != written:
        header.fault(repairs.BAD_RECIPIENT, written)
    return name[0] if name else None


def _content_type(header: Header, words: list[str], constrained: list[str]) -> None:
    """The type that <|constrain|> introduces, else the last word; nothing may be left then."""
    if constrained:
        header.content_type, words = constrained[0], words + constrained[1:]
    elif words and _BARE_TYPE.fullmatch(words[-1]):
        header.content_type, words = words[-1], words[:-1]
    if words:
        header.fault(repairs.STRAY_WORDS, " ".join(words))
