"""Owns reading a model's ids as Harmony messages, one id at a time; it never fails.

Whatever ids come, events come out whose ids are those ids. What the format has no place for is
put right by a rule of `repairs`, and reported. It does not know tools, schemas or sampling.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from enum import Enum

from ingle.chat.event import Event, MessageEnd, MessageStart, Repair, TextDelta, ToolCallDelta
from ingle.chat.harmony import repairs
from ingle.chat.harmony.header import (
    MAX_IDS,
    Header,
    is_hopeless,
    read_header,
    read_without_message,
    segments,
)
from ingle.chat.harmony.tokens import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    ENDOFTEXT,
    ENDS,
    FINAL,
    FIRST_SPECIAL,
    MESSAGE,
    START,
)
from ingle.chat.message import Message
from ingle.tokenizer.o200k import o200k_harmony, ordinary_tokens

_UTF8 = codecs.getincrementaldecoder("utf-8")
_LOOKS = frozenset({8, 16, 32})  # lengths of a header at which it is asked whether it is one


class Phase(Enum):
    """Where in a message the next id stands."""

    BETWEEN = "between"
    HEADER = "header"
    CONTENT = "content"


class HarmonyParser:
    """An automaton over ids.

    role: of the turn that the prompt opened ("assistant": its ids continue ``<|start|>assistant``);
    None where the ids begin with ``<|start|>`` themselves.

    State, between ids: `phase`; `header_ids`, those of a header so far; `role`, `channel`,
    `recipient`, `content_type` of the message whose content is being read, else None; `repairs`,
    how many so far, by rule. Each id costs a bounded amount of work.
    """

    def __init__(self, role: str | None = "assistant") -> None:
        self.phase = Phase.BETWEEN if role is None else Phase.HEADER
        self.repairs: dict[str, int] = {}
        self._table = ordinary_tokens()
        self._utf8 = _UTF8("replace")
        self._given_role = role  # by the prompt, or by a message that <|channel|> broke off
        self._implicit = False  # the header began without <|start|>
        self._answered = False  # a message on final is over
        self._pending: list[int] = []  # ids in no event yet: a header's, or half a character's
        self._texts: list[str] = []
        self._clear()

    def _clear(self) -> None:
        self.role: str | None = None
        self.name: str | None = None
        self.channel: str | None = None
        self.recipient: str | None = None
        self.content_type: str | None = None

    @property
    def header_ids(self) -> tuple[int, ...]:
        """Ids after <|start|>, those that the prompt opened among them; empty outside a header."""
        if self.phase is not Phase.HEADER:
            return ()
        opened = o200k_harmony().encode(self._given_role) if self._given_role else []
        return (*opened, *(i for i in self._pending if i != START))

    def feed(self, token_id: int) -> list[Event]:
        """What one more id says; often nothing yet."""
        if self.phase is Phase.CONTENT:
            if 0 <= token_id < FIRST_SPECIAL:
                return self._text(token_id)
            return self._special_in_content(token_id)
        if self.phase is Phase.HEADER:
            return self._in_header(token_id)
        return self._between(token_id)

    def feed_many(self, ids: Iterable[int]) -> list[Event]:
        """The events of `feed` for each id."""
        return [event for token_id in ids for event in self.feed(token_id)]

    def finish(self) -> list[Event]:
        """What the end of the stream says; an open message is closed as incomplete.

        The parser then stands between messages.
        """
        if self.phase is Phase.CONTENT:
            return [*self._flush(), self._repair(repairs.CUT_OFF), self._end((), False)]
        if self.phase is Phase.HEADER and self._pending:
            return self._without_message(None)
        self.phase = Phase.BETWEEN
        return []

    def _text(self, token_id: int) -> list[Event]:
        text = self._utf8.decode(self._table[token_id])
        if not text:
            self._pending.append(token_id)
            return []
        if self._pending:
            ids = (*self._pending, token_id)
            self._pending.clear()
        else:
            ids = (token_id,)
        return [self._delta(ids, text)]

    def _delta(self, ids: tuple[int, ...], text: str) -> Event:
        self._texts.append(text)
        if self.recipient is not None and self.role == "assistant":
            return ToolCallDelta(ids, self.channel, self.recipient, text)
        return TextDelta(ids, self.channel, text)

    def _flush(self) -> list[Event]:
        """Half a character, which will not be completed."""
        text = self._utf8.decode(b"", final=True)
        ids = tuple(self._pending)
        self._pending.clear()
        self._utf8.reset()
        return [self._delta(ids, text)] if text else []

    def _special_in_content(self, token_id: int) -> list[Event]:
        events = self._flush()
        if token_id in ENDS or token_id == ENDOFTEXT:
            return [*events, *self._wrong_end(token_id), self._end((token_id,), True)]
        if token_id in (START, CHANNEL):
            events += [self._repair(repairs.NO_END), self._end((), False)]
            self._open_header(token_id, None if token_id == START else "assistant")
            return events
        return [*events, self._repair(repairs.STRAY_TOKEN, str(token_id), (token_id,))]

    def _wrong_end(self, token_id: int) -> list[Event]:
        is_call = self.role == "assistant" and self.recipient is not None
        if token_id == ENDOFTEXT or is_call != (token_id == CALL):
            return [self._repair(repairs.WRONG_END, str(token_id))]
        return []

    def _end(self, ids: tuple[int, ...], complete: bool) -> Event:
        text = "".join(self._texts)
        self._texts.clear()
        said = Message(
            self.role or "assistant",
            text,
            self.name,
            channel=self.channel,
            recipient=self.recipient,
            content_type=self.content_type,
        )
        self._answered = said.channel == FINAL or (self._answered and said.role == "assistant")
        self.phase = Phase.BETWEEN
        self._clear()
        return MessageEnd(ids, said, complete)

    def _open_header(self, token_id: int, given_role: str | None, implicit: bool = False) -> None:
        self.phase = Phase.HEADER
        self._given_role = given_role
        self._implicit = implicit
        self._pending.append(token_id)

    def _between(self, token_id: int) -> list[Event]:
        if token_id == START:
            self._open_header(token_id, None)
        elif token_id in (CHANNEL, MESSAGE):
            self._open_header(token_id, "assistant", implicit=True)
            if token_id == MESSAGE:
                self._pending.clear()
                return self._in_header(token_id)
        elif 0 <= token_id < FIRST_SPECIAL:
            self._open_header(token_id, None, implicit=True)
        else:
            return [self._repair(repairs.STRAY_TOKEN, str(token_id), (token_id,))]
        return []

    def _in_header(self, token_id: int) -> list[Event]:
        if token_id == MESSAGE:
            parts = segments(self._pending)
            header = read_header(parts, self._given_role)
            return self._start(header, token_id)
        if token_id in ENDS or token_id in (START, ENDOFTEXT):
            return self._without_message(token_id)
        self._pending.append(token_id)
        if 0 <= token_id < FIRST_SPECIAL or token_id in (CHANNEL, CONSTRAIN):
            return self._give_up_header() if self._is_no_header() else []
        return [self._repair(repairs.STRAY_TOKEN, str(token_id))]

    def _is_no_header(self) -> bool:
        length = len(self._pending)
        if length >= MAX_IDS:
            return True
        return length in _LOOKS and is_hopeless(segments(self._pending), self._given_role)

    def _start(self, header: Header, *ids: int) -> list[Event]:
        """A message whose header is complete; `ids` follow those of the header."""
        events: list[Event] = [self._repair(repairs.NO_START)] if self._implicit else []
        events += [self._repair(rule, detail) for rule, detail in header.faults]
        self.role, self.name, self.channel = header.role, header.name, header.channel
        self.recipient, self.content_type = header.recipient, header.content_type
        carried = (*self._pending, *ids)
        self._pending.clear()
        self.phase = Phase.CONTENT
        self._given_role = None
        start = MessageStart(
            carried, header.role, header.channel, header.recipient, header.content_type, header.name
        )
        return [*events, start]

    def _give_up_header(self) -> list[Event]:
        """What was taken for a header is content, as far as it goes; more may follow."""
        after_start = self._pending[:1] == [START]
        parts = segments(self._pending)
        header, text = read_without_message(parts, self._given_role, after_start)
        if not text and header.recipient is None:
            return self._pass_over(repairs.STRAY_TOKEN)
        if self._is_stray(header):
            return self._pass_over(repairs.STRAY_TEXT, text)
        header.fault(repairs.NO_MESSAGE)
        events = self._start(header)
        return [*events, self._delta((), text)] if text else events

    def _is_stray(self, header: Header) -> bool:
        """Whether text without any mark follows an answer that is already given."""
        return self._implicit and self._answered and CHANNEL not in self._pending

    def _pass_over(self, rule: str, detail: str = "") -> list[Event]:
        ids = tuple(self._pending)
        self._pending.clear()
        self.phase = Phase.BETWEEN
        self._given_role = None
        return [self._repair(rule, detail, ids)] if ids else []

    def _without_message(self, token_id: int | None) -> list[Event]:
        """A header that ends, in a token or the stream's end, before its <|message|>."""
        events = self._give_up_header()
        ending = token_id if token_id != START else None
        if self.phase is Phase.CONTENT:
            if token_id is None:
                events.append(self._repair(repairs.CUT_OFF))
            elif ending is not None:
                events += self._wrong_end(ending)
            events.append(self._end(() if ending is None else (ending,), ending is not None))
        elif ending is not None:
            events.append(self._repair(repairs.STRAY_TOKEN, str(ending), (ending,)))
        if token_id == START:
            self._open_header(token_id, None)
        return events

    def _repair(self, rule: str, detail: str = "", ids: tuple[int, ...] = ()) -> Event:
        self.repairs[rule] = self.repairs.get(rule, 0) + 1
        return Repair(ids, rule, detail)
