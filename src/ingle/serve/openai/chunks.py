"""Owns the stream of OpenAI's Chat API: chunks of all replies, as they come."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from ingle import __version__
from ingle.llm import TokenLogprob
from ingle.llm.piece import CallBegun, CallText, Piece
from ingle.llm.reasoning import Part
from ingle.serve import sse
from ingle.serve.openai import error as openai_error
from ingle.serve.openai.logprobs import LogprobQueue, chat_logprobs
from ingle.serve.openai.usage import finish_reason, usage_of
from ingle.serve.turn import Turn


@dataclass(frozen=True)
class Head:
    """What all objects of one answer begin with."""

    model: str
    prefix: str = "chatcmpl-"
    token: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def fields(self, kind: str) -> dict[str, Any]:
        """Of an object of a kind."""
        return {
            "id": f"{self.prefix}{self.token}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"ingle-{__version__}",
        }


async def chunks(
    turn: Turn, head: Head, with_usage: bool, with_reasoning: bool
) -> AsyncIterator[bytes]:
    """Events of a stream; an error is the last one."""
    writer = _Writer(turn, head, with_usage, with_reasoning)
    try:
        for index in range(len(turn.streams)):
            yield writer.chunk(index, {"role": "assistant", "content": ""})
        async for index, piece in turn.pieces():
            told = writer.piece(index, piece)
            if told is not None:
                yield told
        for index in range(len(turn.streams)):
            yield writer.end(index)
        if with_usage:
            kind = head.fields("chat.completion.chunk")
            yield sse.event(kind | {"choices": [], "usage": usage_of(turn.completions)})
        yield sse.DONE
    except Exception as error:
        _, body = openai_error.told(error)
        yield sse.event(body)
    finally:
        turn.cancel()


class _Writer:
    def __init__(self, turn: Turn, head: Head, with_usage: bool, with_reasoning: bool) -> None:
        self._turn, self._with_reasoning = turn, with_reasoning
        self._head = head.fields("chat.completion.chunk")
        self._tail: dict[str, Any] = {"usage": None} if with_usage else {}
        self._logprobs = [LogprobQueue() for _ in turn.streams]
        self._has_logprobs = turn.streams[0].request.logprobs is not None

    def chunk(self, index: int, delta: dict[str, Any], **more: Any) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **more}
        return sse.event(self._head | {"choices": [choice]} | self._tail)

    def piece(self, index: int, piece: Piece) -> bytes | None:
        if isinstance(piece, TokenLogprob):
            self._logprobs[index].put(piece)
            return None
        if isinstance(piece, CallBegun):
            called = {"name": piece.name, "arguments": ""}
            begun = {"index": piece.index, "id": piece.id, "type": "function", "function": called}
            return self.chunk(index, {"tool_calls": [begun]})
        if isinstance(piece, CallText):
            more = {"index": piece.index, "function": {"arguments": piece.text}}
            return self.chunk(index, {"tool_calls": [more]})
        return self._part(index, piece)

    def end(self, index: int) -> bytes:
        one = self._turn.completions[index]
        rest = self._logprobs[index].rest(one.stop is not None)
        told = chat_logprobs(rest) if rest else None
        return self.chunk(index, {}, finish_reason=finish_reason(one), logprobs=told)

    def _part(self, index: int, part: Part) -> bytes | None:
        if part.is_reasoning:
            return (
                self.chunk(index, {"reasoning_content": part.text})
                if self._with_reasoning
                else None
            )
        told = None
        if self._has_logprobs:
            told = chat_logprobs(self._logprobs[index].shown(part.text))
        return self.chunk(index, {"content": part.text}, logprobs=told)
