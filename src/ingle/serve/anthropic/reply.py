"""Owns an answer as Anthropic's API tells it: a message of blocks, or the events that build it.

Both have the same blocks in the same order: that in which the model wrote them.
Events follow one another as the reference has them: message_start, then for each block its start,
deltas and stop, then message_delta with the reason and the counts, and message_stop.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ingle.llm import Completion
from ingle.llm.piece import CallBegun, CallText, Piece
from ingle.llm.reasoning import Part
from ingle.serve import sse

_REASONS = {"tool_calls": "tool_use", "length": "max_tokens"}


@dataclass
class Reply:
    """An answer on its way. shows_thinking, omits_thinking: whether, and without their text.

    prompt_tokens: of the prompt, known before anything is computed.
    """

    model: str
    prompt_tokens: int = 0
    shows_thinking: bool = False
    omits_thinking: bool = False
    id: str = field(default_factory=lambda: f"msg_{secrets.token_hex(12)}")
    _index: int = -1  # of the block at hand
    _kind: str | None = None  # of the block at hand; None between blocks
    _gap: str = ""  # blanks that are told once more text follows
    _blocks: list[dict[str, Any]] = field(default_factory=list)  # so far
    _written: list[str] = field(default_factory=list)  # of each of them: text, thought, arguments

    def start(self) -> Iterator[bytes]:
        """The first events."""
        usage = {"input_tokens": self.prompt_tokens, "output_tokens": 0}
        yield _event("message_start", message=self._message([], None, None, usage))
        yield ping()

    def note(self, piece: Piece) -> None:
        """Keeps one piece for `whole`."""
        for _ in self.told(piece):
            pass

    def told(self, piece: Piece) -> Iterator[bytes]:
        """Events for one piece."""
        if isinstance(piece, CallBegun):
            yield from self._stop()
            block = {"type": "tool_use", "id": piece.id, "name": piece.name, "input": {}}
            yield self._begin("tool_use", block)
        elif isinstance(piece, CallText):
            if piece.text:
                self._written[-1] += piece.text
                yield self._delta("input_json_delta", partial_json=piece.text)
        elif isinstance(piece, Part) and piece.text:
            yield from self._thinking(piece.text) if piece.is_reasoning else self._text(piece.text)

    def end(self, done: Completion) -> Iterator[bytes]:
        """The last events."""
        yield from self._stop()
        reason, stop = _reason(done)
        delta = {"stop_reason": reason, "stop_sequence": stop}
        yield _event("message_delta", delta=delta, usage=usage_of(done))
        yield _event("message_stop")

    def whole(self, done: Completion) -> dict[str, Any]:
        """The answer at once, after `note` of all its pieces."""
        reason, stop = _reason(done)
        blocks = [self._finished(index, done) for index in range(len(self._blocks))]
        return self._message(blocks, reason, stop, usage_of(done))

    def _finished(self, index: int, done: Completion) -> dict[str, Any]:
        """A block with all that was written in it."""
        block, written = self._blocks[index], self._written[index]
        if block["type"] == "text":
            return block | {"text": written}
        if block["type"] == "thinking":
            shown = "" if self.omits_thinking else written
            return block | {"thinking": shown, "signature": _signature(written)}
        calls = [i for i, one in enumerate(self._blocks) if one["type"] == "tool_use"]
        given = None if done.cut_call and index == calls[-1] else _object(written)
        if given is None:  # as text, so that nobody makes it
            return {"type": "text", "text": f"{block['name']} {written}".rstrip()}
        return block | {"input": given}

    def _message(
        self,
        blocks: list[dict[str, Any]],
        reason: str | None,
        stop: str | None,
        usage: dict[str, Any],
    ) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": blocks,
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": usage,
        }

    def _text(self, text: str) -> Iterator[bytes]:
        if self._kind != "text":
            self._gap += text
            if self._gap.isspace():
                return
            text, self._gap = self._gap, ""
            yield from self._stop()
            yield self._begin("text", {"type": "text", "text": ""})
        self._written[-1] += text
        yield self._delta("text_delta", text=text)

    def _thinking(self, text: str) -> Iterator[bytes]:
        if not self.shows_thinking:
            return
        if self._kind != "thinking":
            yield from self._stop()
            yield self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        self._written[-1] += text
        if not self.omits_thinking:
            yield self._delta("thinking_delta", thinking=text)

    def _begin(self, kind: str, block: dict[str, Any]) -> bytes:
        self._index, self._kind, self._gap = self._index + 1, kind, ""
        self._blocks.append(block)
        self._written.append("")
        return _event("content_block_start", index=self._index, content_block=block)

    def _delta(self, kind: str, **said: Any) -> bytes:
        delta = {"type": kind, **said}
        return _event("content_block_delta", index=self._index, delta=delta)

    def _stop(self) -> Iterator[bytes]:
        """The end of the block at hand, if there is one."""
        if self._kind is None:
            return
        if self._kind == "thinking":
            yield self._delta("signature_delta", signature=_signature(self._written[-1]))
        yield _event("content_block_stop", index=self._index)
        self._kind = None


def ping() -> bytes:
    """What keeps a connection alive while there is nothing to tell."""
    return _event("ping")


def usage_of(done: Completion) -> dict[str, Any]:
    """Counts: what was at hand of the prompt is told apart from what was computed."""
    used = done.usage
    return {
        "input_tokens": used.prompt_tokens - used.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": used.cached_tokens,
        "output_tokens": used.completion_tokens,
        "output_tokens_details": {"thinking_tokens": used.reasoning_tokens},
    }


def _reason(done: Completion) -> tuple[str, str | None]:
    """stop_reason and stop_sequence."""
    if done.stop is not None:
        return "stop_sequence", done.stop
    return _REASONS.get(done.finish_reason, "end_turn"), None


def _signature(thought: str) -> str:
    """Text that clients hand back with a thought. It proves nothing and is not asked for."""
    digest = hashlib.sha256(thought.encode("utf-8", "surrogatepass")).digest()
    return base64.b64encode(digest).decode()


def _object(arguments: str) -> dict[str, Any] | None:
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _event(kind: str, **said: Any) -> bytes:
    return sse.event({"type": kind, **said}, kind)
