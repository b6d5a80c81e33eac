"""Owns reading gpt-oss's ids as a reply: analysis is reasoning, final is the answer.

It does not know engines, nor how the prompt was made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ingle.chat.event import Event, MessageEnd, MessageStart, TextDelta, ToolCallDelta
from ingle.chat.harmony.content import FUNCTIONS
from ingle.chat.harmony.parser import HarmonyParser
from ingle.chat.harmony.tokens import ANALYSIS, CALL, FINAL, RETURN
from ingle.chat.message import Message, ToolCall
from ingle.llm.reader import Reply
from ingle.llm.reasoning import Part
from ingle.llm.stop import StopScanner

_GAP = "\n\n"  # between a note to the user and what follows it


class HarmonyReader:
    """A reply in Harmony.

    opened: ids that the prompt ends in after ``<|start|>assistant``. calls: whether tools were
    declared; what a model calls without any is text, so that no reply vanishes. first_id: number
    of the first call.
    """

    tells_reasoning = True

    def __init__(
        self,
        stops: Sequence[str] = (),
        calls: bool = False,
        first_id: int = 0,
        opened: Iterable[int] = (),
    ) -> None:
        self.stopped = False
        self.parser = HarmonyParser("assistant")
        self._stops, self._calls, self._first_id = StopScanner(stops), calls, first_id
        self._said: list[Message] = []
        self._found: list[ToolCall] = []
        self._texts: list[str] = []
        self._gap = False  # a message was shown, and nothing after it yet
        self._role = "assistant"
        self._cut_call = False
        self._read(self.parser.feed_many(opened))

    def feed(self, token_id: int) -> list[Part]:
        """The parts that are certain with one more id."""
        return self._read(self.parser.feed(token_id))

    def finish(self, ended: bool = True) -> list[Part]:
        """The last parts. ended: by the model, whose last id, a stop, is not fed."""
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
        )

    def _read(self, events: Iterable[Event]) -> list[Part]:
        parts: list[Part] = []
        for event in events:
            if isinstance(event, MessageStart):
                self._role = event.role
                self._gap = bool(self._texts) and event.channel != ANALYSIS
            elif isinstance(event, TextDelta):
                parts += self._text(event)
            elif isinstance(event, ToolCallDelta) and not self._calls:
                parts += self._visible(event.text)
            elif isinstance(event, MessageEnd):
                parts += self._end(event)
        return parts

    def _text(self, event: TextDelta) -> list[Part]:
        """Of the assistant alone: what a model makes others say is in no part."""
        if self._role != "assistant" or self.stopped:
            return []
        if event.channel == ANALYSIS:
            return [Part(event.text, True)]
        return self._visible(event.text)

    def _visible(self, text: str) -> list[Part]:
        if self.stopped:
            return []
        gap = _GAP if self._gap else ""
        self._gap = False
        shown, self.stopped = self._stops.feed(gap + text)
        return self._show(shown)

    def _show(self, text: str) -> list[Part]:
        if not text:
            return []
        self._texts.append(text)
        return [Part(text, False)]

    def _end(self, event: MessageEnd) -> list[Part]:
        said = event.message
        if said.role != "assistant":
            return []
        if said.recipient is None or not self._calls:
            self._said.append(said)
            return [] if said.channel == ANALYSIS or self.stopped else self._show_rest()
        call_id = f"call_{self._first_id + len(self._found)}"
        self._found.append(as_call(said, call_id))
        self._said.append(replace(said, tool_call_id=call_id))
        self._cut_call |= not event.complete
        return []

    def _show_rest(self) -> list[Part]:
        """What might have begun a stop string: none goes on in the next message."""
        return self._show(self._stops.finish())


def as_call(said: Message, call_id: str | None = None) -> ToolCall:
    """The call that a message is, by the name that dialects know. Code becomes {"code": ...}.

    >>> as_call(Message("assistant", "1 + 1", recipient="python"))
    ToolCall(name='python', arguments='{"code": "1 + 1"}', id=None)
    """
    recipient = said.recipient or ""
    name = recipient.removeprefix(f"{FUNCTIONS}.")
    is_code = recipient == "python"
    written = json.dumps({"code": said.content}, ensure_ascii=False) if is_code else said.content
    return ToolCall(name, written, call_id)
