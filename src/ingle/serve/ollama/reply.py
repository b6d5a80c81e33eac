"""Owns the objects that an Ollama answer is told in: pieces, and the last one with its figures.

It does not know what was asked, nor whether a chat or a single prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from ingle.chat.message import ToolCall
from ingle.llm import Completion, TokenLogprob
from ingle.llm.piece import CallBegun, CallText, Piece
from ingle.llm.reasoning import Part
from ingle.serve.ollama.messages import arguments_of, as_object

_NS = 1_000_000_000

Wrap = Callable[[str, str, list[dict[str, Any]]], dict[str, Any]]
"""(text, thinking, calls) as the fields of a chat's or a prompt's object."""


@dataclass
class Reply:
    """An answer on its way. shows_reasoning: whether thinking is told. load_s: for the model."""

    model: str
    wrap: Wrap
    shows_reasoning: bool = True
    started: float = field(default_factory=perf_counter)
    load_s: float = 0.0
    _calls: list[tuple[CallBegun, list[str]]] = field(default_factory=list)
    _logprobs: list[TokenLogprob] = field(default_factory=list)  # of text that is still to come

    def note(self, piece: Piece) -> None:
        """Keeps what is told beside text: log-probabilities."""
        if isinstance(piece, TokenLogprob):
            self._logprobs.append(piece)

    def told(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Objects for one piece of the answer. A call is told once it is whole."""
        self.note(piece)
        if isinstance(piece, CallBegun):
            yield from self.rest()
            self._calls.append((piece, []))
        elif isinstance(piece, CallText):
            self._calls[-1][1].append(piece.text)
        elif isinstance(piece, Part) and piece.text:
            yield from self._part(piece)

    def rest(self, cut: bool = False) -> Iterator[dict[str, Any]]:
        """Objects for the call that is written and not told yet. cut: it was not written whole."""
        calls, self._calls = self._calls, []
        for begun, texts in calls:
            call = ToolCall(begun.name, "".join(texts), begun.id)
            text, found = _carried([(begun.index, call)], cut)
            yield self._object(text, "", found)

    def whole(self, done: Completion) -> dict[str, Any]:
        """The one object of an answer that does not stream."""
        thinking = done.reasoning if self.shows_reasoning else ""
        extra, calls = _carried(list(enumerate(done.tool_calls)), done.cut_call)
        text = "".join(filter(None, (done.answer, extra)))
        return self._object(text, thinking, calls, True) | self._figures(done)

    def last(self, done: Completion) -> dict[str, Any]:
        """The last object of a stream."""
        return self._object("", "", [], True) | self._figures(done)

    def unanswered(self, reason: str) -> dict[str, Any]:
        """The answer to who asks nothing but that a model comes or goes ("load", "unload")."""
        return self._object("", "", [], True) | {"done_reason": reason}

    def _part(self, part: Part) -> Iterator[dict[str, Any]]:
        if not part.is_reasoning:
            yield self._object(part.text, "", [])
        elif self.shows_reasoning:
            yield self._object("", part.text, [])

    def _object(
        self, text: str, thinking: str, calls: list[dict[str, Any]], done: bool = False
    ) -> dict[str, Any]:
        told = {"model": self.model, "created_at": now(), **self.wrap(text, thinking, calls)}
        told["done"] = done
        if self._logprobs and (text or done):
            told["logprobs"] = [_logprob(one) for one in self._logprobs]
            self._logprobs = []
        return told

    def _figures(self, done: Completion) -> dict[str, Any]:
        """Counts, and times in nanoseconds; none is 0, for clients divide by them."""
        times, used = done.timings, done.usage
        return {
            "done_reason": "length" if done.finish_reason == "length" else "stop",
            "total_duration": _nanoseconds(perf_counter() - self.started),
            "load_duration": _nanoseconds(self.load_s),
            "prompt_eval_count": used.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(times.prompt_s),
            "eval_count": used.completion_tokens,
            "eval_duration": _nanoseconds(times.decode_s),
        }


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _carried(calls: Sequence[tuple[int, ToolCall]], cut: bool) -> tuple[str, list[dict[str, Any]]]:
    """Calls as the API carries them, and as text those that must not be made.

    Such are one whose arguments are no object and, if `cut` says so, the last one.
    """
    texts, found = [], []
    for index, call in calls:
        is_cut = cut and call is calls[-1][1]
        arguments = None if is_cut else arguments_of(call)
        if arguments is None:
            texts.append(f"{call.name} {call.arguments}".rstrip())
        else:
            found.append(as_object(index, call, arguments))
    return "\n".join(texts), found


def _logprob(found: TokenLogprob) -> dict[str, Any]:
    return _entry(found) | {"top_logprobs": [_entry(other) for other in found.top]}


def _entry(found: TokenLogprob) -> dict[str, Any]:
    text = found.text
    return {"token": text, "logprob": max(found.logprob, -9999.0), "bytes": list(text.encode())}


def _nanoseconds(seconds: float) -> int:
    return max(1, round(seconds * _NS))
