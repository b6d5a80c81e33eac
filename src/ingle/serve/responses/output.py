"""Owns a response while it is written: its items, and the events that tell of them.

Pieces of a reply come in; events go out, in the order that clients rely on. It does not know HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingle.llm import TokenLogprob
from ingle.llm.piece import CallBegun, CallText, Piece
from ingle.serve.openai.logprobs import LogprobQueue, entry
from ingle.serve.responses.items import encoded, new_id
from ingle.serve.responses.tools import Declared, as_text

Event = dict[str, Any]


class Output:
    """The items of one response. summarizes, encodes: how reasoning is told."""

    def __init__(self, tools: Declared, summarizes: bool = False, encodes: bool = False) -> None:
        self.items: list[dict[str, Any]] = []
        self._tools, self._summarizes, self._encodes = tools, summarizes, encodes
        self._open = ""  # kind of the item that is being written
        self._text = ""  # of it, so far
        self._queue = LogprobQueue()
        self._logprobs: list[dict[str, Any]] = []

    def piece(self, piece: Piece) -> Iterator[Event]:
        """Events of one more piece."""
        if isinstance(piece, TokenLogprob):
            self._queue.put(piece)
        elif isinstance(piece, CallBegun):
            yield from self._begin_call(piece)
        elif isinstance(piece, CallText):
            self._text += piece.text
            if self._open == "function_call":
                yield self._event("function_call_arguments.delta", delta=piece.text)
        elif piece.is_reasoning:
            yield from self._reason(piece.text)
        else:
            yield from self._say(piece.text)

    def end(self, complete: bool, stopped: bool = False) -> Iterator[Event]:
        """Events of the end. stopped: by a stop string, whose tokens are no text."""
        rest = self._queue.rest(stopped)
        self._logprobs += [_logprob(found) for found in rest] if self._open == "message" else []
        yield from self._close(complete)

    def _reason(self, text: str) -> Iterator[Event]:
        if self._open != "reasoning":
            yield from self._close()
            item = {"type": "reasoning", "id": new_id("rs"), "summary": [], "status": "in_progress"}
            yield from self._begin(item)
            yield self._part_event("added", "")
        self._text += text
        name = "reasoning_summary_text" if self._summarizes else "reasoning_text"
        yield self._event(f"{name}.delta", **self._at(), delta=text)

    def _say(self, text: str) -> Iterator[Event]:
        if self._open != "message":
            text = text.lstrip("\n") if self.items else text  # the gap between two messages
            if not text:
                return
            yield from self._close()
            item = {"type": "message", "id": new_id("msg"), "role": "assistant", "content": []}
            yield from self._begin({**item, "status": "in_progress"})
            yield self._part_event("added", "")
        self._text += text
        told = [_logprob(found) for found in self._queue.shown(text)]
        self._logprobs += told
        yield self._event("output_text.delta", **self._at(), delta=text, logprobs=told)

    def _begin_call(self, call: CallBegun) -> Iterator[Event]:
        yield from self._close()
        item: dict[str, Any] = {"call_id": call.id, "name": call.name, "status": "in_progress"}
        if call.name in self._tools.spaces:
            item["namespace"], item["name"] = self._tools.spaces[call.name]
        if call.name in self._tools.custom:
            kind = {"type": "custom_tool_call", "id": new_id("ctc"), "input": ""}
        else:
            kind = {"type": "function_call", "id": new_id("fc"), "arguments": ""}
        yield from self._begin({**kind, **item})

    def _begin(self, item: dict[str, Any]) -> Iterator[Event]:
        self._open, self._text, self._logprobs = str(item["type"]), "", []
        self.items.append(item)
        yield {
            "type": "response.output_item.added",
            "output_index": self._index,
            "item": dict(item),
        }

    def _close(self, complete: bool = True) -> Iterator[Event]:
        """Ends the item that is being written."""
        if not self._open:
            return
        yield from {
            "reasoning": self._end_reasoning,
            "message": self._end_message,
            "function_call": self._end_call,
            "custom_tool_call": self._end_custom,
        }[self._open]()
        self._item["status"] = "completed" if complete else "incomplete"
        yield {
            "type": "response.output_item.done",
            "output_index": self._index,
            "item": dict(self._item),
        }
        self._open = ""

    def _end_reasoning(self) -> Iterator[Event]:
        name = "reasoning_summary_text" if self._summarizes else "reasoning_text"
        yield self._event(f"{name}.done", **self._at(), text=self._text)
        yield self._part_event("done", self._text)
        self._item["summary" if self._summarizes else "content"] = [self._part(self._text)]
        if self._encodes:
            self._item["encrypted_content"] = encoded(self._text)

    def _end_message(self) -> Iterator[Event]:
        done = {"text": self._text, "logprobs": self._logprobs}
        yield self._event("output_text.done", **self._at(), **done)
        yield self._part_event("done", self._text)
        self._item["content"] = [self._part(self._text)]

    def _end_call(self) -> Iterator[Event]:
        name = self._item["name"]
        yield self._event("function_call_arguments.done", arguments=self._text, name=name)
        self._item["arguments"] = self._text

    def _end_custom(self) -> Iterator[Event]:
        text = as_text(self._text)
        yield self._event("custom_tool_call_input.delta", delta=text)
        yield self._event("custom_tool_call_input.done", input=text)
        self._item["input"] = text

    def _part(self, text: str) -> dict[str, Any]:
        if self._open == "message":
            told = {"annotations": [], "logprobs": self._logprobs}
            return {"type": "output_text", "text": text, **told}
        return {"type": "summary_text" if self._summarizes else "reasoning_text", "text": text}

    def _part_event(self, what: str, text: str) -> Event:
        is_summary = self._open == "reasoning" and self._summarizes
        name = "reasoning_summary_part" if is_summary else "content_part"
        return self._event(f"{name}.{what}", **self._at(), part=self._part(text))

    def _at(self) -> dict[str, int]:
        """Which of the item's parts; there is one."""
        is_summary = self._open == "reasoning" and self._summarizes
        return {"summary_index": 0} if is_summary else {"content_index": 0}

    def _event(self, kind: str, /, **fields: Any) -> Event:
        place = {"item_id": self._item["id"], "output_index": self._index}
        return {"type": f"response.{kind}", **place, **fields}

    @property
    def _item(self) -> dict[str, Any]:
        return self.items[-1]

    @property
    def _index(self) -> int:
        return len(self.items) - 1


def _logprob(found: TokenLogprob) -> dict[str, Any]:
    return {**entry(found), "top_logprobs": [entry(other) for other in found.top]}
