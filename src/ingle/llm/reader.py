"""Owns reading a model's ids as a reply: what is text, what is reasoning, what is a call.

A reader of another chat format has these four names. It does not know engines or times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ingle.chat.message import Message, ToolCall
from ingle.llm.piece import CallBegun, CallText, Piece, Place
from ingle.llm.reasoning import Part, ReasoningSplitter, split_reasoning
from ingle.llm.stop import StopScanner
from ingle.tokenizer import Tokenizer

if TYPE_CHECKING:  # with tools alone: they load slowly
    from ingle.chat.tools.written import CallScanner


@dataclass(frozen=True)
class Reply:
    """A finished reply. text: what was streamed. answer: the text without its reasoning.

    messages: what a conversation goes on with, calls and the reasoning behind them included.
    cut_call: a call was begun and not finished; it must not be made. repairs: how often which
    rule put the model's format right. stop: the stop string that ended it.
    """

    text: str
    answer: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    messages: tuple[Message, ...] = ()
    cut_call: bool = False
    repairs: Mapping[str, int] = field(default_factory=dict)
    stop: str | None = None


class Reader(Protocol):
    """Takes ids one by one. stopped: the text itself asked for the end (a stop string).

    tells_reasoning: parts say what is reasoning; else it is still in the text, between tags.
    place: what the last id was part of.
    """

    stopped: bool
    tells_reasoning: bool
    place: Place

    def feed(self, token_id: int) -> list[Piece]:
        """The pieces that are certain now."""

    def finish(self, ended: bool = True) -> list[Piece]:
        """The pieces that were held back, at the end. ended: by the model, and not cut off."""

    def reply(self) -> Reply:
        """The whole, after `finish`, or of what was fed before the answer was cancelled."""


class TextReader:
    """A reply that is text: raw, or what a chat template leads to.

    inside: the prompt opened the reasoning; None where the text is no chat's. calls: what calls
    look like in it, if there are tools.
    """

    tells_reasoning = False

    def __init__(
        self,
        tokenizer: Tokenizer,
        stops: Sequence[str] = (),
        inside: bool | None = None,
        calls: CallScanner | None = None,
    ) -> None:
        self.stopped = False
        self._tokenizer = tokenizer
        self._decoder = tokenizer.decoder(skip_special=True)
        self._stops, self._calls, self._inside = StopScanner(stops), calls, inside
        self._text = ""
        self._num_told = 0  # calls that pieces have told of
        self._thoughts = None if inside is None else ReasoningSplitter(inside)
        self.place = Place.ANSWER

    def feed(self, token_id: int) -> list[Piece]:
        known = token_id < self._tokenizer.vocab_size  # a model may have more rows than words
        piece, self.stopped = self._stops.feed(self._decoder.feed(token_id) if known else "")
        if self._thoughts is not None:
            self.place = _place(self._thoughts, piece)
        return self._shown(piece)

    def finish(self, ended: bool = True) -> list[Piece]:
        held = ""
        if not self.stopped:
            held, self.stopped = self._stops.feed(self._decoder.finish())
            held += "" if self.stopped else self._stops.finish()
        pieces = self._shown(held)
        return pieces if self._calls is None else [*pieces, *self._parts(self._calls.finish())]

    def reply(self) -> Reply:
        reasoning, answer = "", self._text
        if self._inside is not None:
            reasoning, answer = split_reasoning(self._text, self._inside)
        calls = () if self._calls is None else tuple(self._calls.found)
        cut = self._calls is not None and self._calls.cut
        said = Message("assistant", answer, tool_calls=calls, reasoning=reasoning or None)
        stop = self._stops.found
        return Reply(self._text, answer, reasoning, calls, (said,), cut, stop=stop)

    def _shown(self, piece: str) -> list[Piece]:
        if self._calls is None:
            return self._parts(piece)
        return [*self._parts(self._calls.feed(piece)), *self._new_calls(self._calls.found)]

    def _new_calls(self, found: Sequence[ToolCall]) -> list[Piece]:
        """Calls are told of once they are whole: their names need not come first."""
        told, self._num_told = self._num_told, len(found)
        pieces: list[Piece] = []
        for index, call in enumerate(found[told:], told):
            pieces += [CallBegun(index, call.id or "", call.name), CallText(index, call.arguments)]
        return pieces

    def _parts(self, text: str) -> list[Piece]:
        self._text += text
        return [Part(text, False)] if text else []


def _place(thoughts: ReasoningSplitter, piece: str) -> Place:
    """What `piece`, which comes now, is part of."""
    inside = thoughts.inside
    parts = thoughts.feed(piece)
    if inside or thoughts.inside:
        return Place.REASONING
    is_gap = piece.isspace() and not parts  # between the reasoning and the answer
    return Place.OTHER if is_gap else Place.ANSWER
