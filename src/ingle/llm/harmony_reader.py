"""Owns reading gpt-oss's ids as a reply: analysis is reasoning, final is the answer.

It does not know engines, nor how the prompt was made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ingle.chat.event import Event, MessageEnd, MessageStart, TextDelta, ToolCallDelta
from ingle.chat.harmony.content import FUNCTIONS
from ingle.chat.harmony.parser import HarmonyParser, Phase
from ingle.chat.harmony.tokens import ANALYSIS, CALL, FINAL, FIRST_SPECIAL, RETURN
from ingle.chat.message import Message, ToolCall
from ingle.llm.piece import CallBegun, CallText, Piece, Place
from ingle.llm.reader import Reply
from ingle.llm.reasoning import Part
from ingle.llm.stop import StopScanner

PYTHON = "python"
_GAP = "\n\n"  # between a note to the user and what follows it


class HarmonyReader:
    """A reply in Harmony.

    opened: ids that the prompt ends in after ``<|start|>assistant``. calls: whether tools were
    declared; what a model calls without any is text, so that no reply vanishes. first_id: number
    of the first call; id_prefix: what stands before it.
    """

    tells_reasoning = True

    def __init__(
        self,
        stops: Sequence[str] = (),
        calls: bool = False,
        first_id: int = 0,
        opened: Iterable[int] = (),
        id_prefix: str = "call_",
    ) -> None:
        self.stopped = False
        self.place = Place.OTHER
        self.parser = HarmonyParser("assistant")
        self._stops, self._calls = StopScanner(stops), calls
        self._first_id, self._id_prefix = first_id, id_prefix
        self._said: list[Message] = []
        self._found: list[ToolCall] = []
        self._texts: list[str] = []
        self._gap = False  # a message was shown, and nothing after it yet
        self._role = "assistant"
        self._cut_call = False
        self._read(self.parser.feed_many(opened))

    def feed(self, token_id: int) -> list[Piece]:
        """The pieces that are certain with one more id."""
        self.place = self._place(token_id)
        return self._read(self.parser.feed(token_id))

    def finish(self, ended: bool = True) -> list[Piece]:
        """The last pieces. ended: by the model, whose last id, a stop, is not fed."""
        if ended and not self.stopped:
            is_call = self.parser.recipient is not None
            return self._read(self.parser.feed(CALL if is_call else RETURN))
        parts = self._read(self.parser.finish())
        return parts if self.stopped else [*parts, *self._show(self._stops.finish())]

    def reply(self) -> Reply:
        """The whole, after `finish`, or of what was fed before the answer was cancelled."""
        self._read(self.parser.finish())
        reasoning = [said.content for said in self._said if said.channel == ANALYSIS]
        answers = [said.content for said in self._said if said.channel == FINAL]
        text = "".join(self._texts)
        return Reply(
            text,
            "".join(answers) if answers and not self.stopped else text,
            _GAP.join(reasoning),
            tuple(self._found),
            tuple(self._said),
            self._cut_call,
            dict(self.parser.repairs),
            self._stops.found,
        )

    def _place(self, token_id: int) -> Place:
        """What an id that comes now is part of."""
        parser = self.parser
        is_text = parser.phase is Phase.CONTENT and token_id < FIRST_SPECIAL
        if not is_text or parser.role != "assistant" or (parser.recipient and self._calls):
            return Place.OTHER
        return Place.REASONING if parser.channel == ANALYSIS else Place.ANSWER

    def _read(self, events: Iterable[Event]) -> list[Piece]:
        parts: list[Piece] = []
        for event in events:
            if isinstance(event, MessageStart):
                self._role = event.role
                self._gap = bool(self._texts) and event.channel != ANALYSIS
                parts += self._begun(event)
            elif isinstance(event, TextDelta):
                parts += self._text(event)
            elif isinstance(event, ToolCallDelta):
                parts += self._call_text(event) if self._calls else self._visible(event.text)
            elif isinstance(event, MessageEnd):
                parts += self._end(event)
        return parts

    def _begun(self, event: MessageStart) -> list[Piece]:
        if not self._calls or event.role != "assistant" or event.recipient is None:
            return []
        name = as_call(Message("assistant", "", recipient=event.recipient)).name
        return [CallBegun(len(self._found), self._next_id, name)]

    def _call_text(self, event: ToolCallDelta) -> list[Piece]:
        """Of functions; code becomes JSON once it is whole."""
        return [] if event.recipient == PYTHON else [CallText(len(self._found), event.text)]

    @property
    def _next_id(self) -> str:
        return f"{self._id_prefix}{self._first_id + len(self._found)}"

    def _text(self, event: TextDelta) -> list[Piece]:
        """Of the assistant alone: what a model makes others say is in no part."""
        if self._role != "assistant" or self.stopped:
            return []
        if event.channel == ANALYSIS:
            return [Part(event.text, True)]
        return self._visible(event.text)

    def _visible(self, text: str) -> list[Piece]:
        if self.stopped:
            return []
        gap = _GAP if self._gap else ""
        self._gap = False
        shown, self.stopped = self._stops.feed(gap + text)
        return self._show(shown)

    def _show(self, text: str) -> list[Piece]:
        if not text:
            return []
        self._texts.append(text)
        return [Part(text, False)]

    def _end(self, event: MessageEnd) -> list[Piece]:
        said = event.message
        if said.role != "assistant":
            return []
        if said.recipient is None or not self._calls:
            self._said.append(said)
            return [] if said.channel == ANALYSIS or self.stopped else self._show_rest()
        call, index = as_call(said, self._next_id), len(self._found)
        self._found.append(call)
        self._said.append(replace(said, tool_call_id=call.id))
        self._cut_call |= not event.complete
        return [CallText(index, call.arguments)] if said.recipient == PYTHON else []

    def _show_rest(self) -> list[Piece]:
        """What might have begun a stop string: none goes on in the next message."""
        return self._show(self._stops.finish())


def as_call(said: Message, call_id: str | None = None) -> ToolCall:
    """The call that a message is, by the name that dialects know. Code becomes {"code": ...}.

    >>> as_call(Message("assistant", "1 + 1", recipient="python"))
    ToolCall(name='python', arguments='{"code": "1 + 1"}', id=None)
    """
    recipient = said.recipient or ""
    name = recipient.removeprefix(f"{FUNCTIONS}.")
    is_code = recipient == PYTHON
    written = json.dumps({"code": said.content}, ensure_ascii=False) if is_code else said.content
    return ToolCall(name, written, call_id)
