"""Owns what a finished answer is: text, ids, counts, times, log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from ingle.chat.message import Message, ToolCall
from ingle.runtime import Progress, TokenLogprobs
from ingle.tokenizer import Tokenizer

if TYPE_CHECKING:  # with formats alone: their library loads slowly
    from ingle.chat.constraint import Cost


@dataclass(frozen=True)
class Usage:
    """Tokens counted; `cached_tokens` of the prompt needed no computing.

    reasoning_tokens: of the completion, those of its reasoning's text.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timings:
    """Seconds, and tokens per second: load_s is the model's, the rest this generation's."""

    load_s: float
    prompt_s: float
    decode_s: float
    first_token_s: float
    prompt_tokens_per_s: float
    decode_tokens_per_s: float

    @classmethod
    def of(cls, progress: Progress, load_s: float, first_token_s: float) -> Timings:
        """The times of a generation; its first token comes out of the prompt, not of decoding."""
        p = progress
        return cls(
            load_s=load_s,
            prompt_s=p.prompt_s,
            decode_s=p.decode_s,
            first_token_s=first_token_s,
            prompt_tokens_per_s=_rate(p.prompt_tokens - p.cached_tokens, p.prompt_s),
            decode_tokens_per_s=_rate(p.completion_tokens - 1, p.decode_s),
        )


@dataclass(frozen=True)
class TokenLogprob:
    """A token, its text (U+FFFD where it is part of a character) and natural log-probability.

    Probabilities are the model's own, before temperature, penalties, biases and filters. top: the
    likeliest tokens at its place, best first, as many as were asked for; empty within `top`. data:
    the token's bytes.
    """

    token_id: int
    text: str
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    data: bytes = field(default=b"", compare=False)

    @classmethod
    def of(cls, found: TokenLogprobs, tokenizer: Tokenizer) -> Self:
        """The engine's figures with their texts."""
        top = tuple(cls._of(i, logprob, tokenizer) for i, logprob in found.top)
        return cls._of(found.token_id, found.logprob, tokenizer, top)

    @classmethod
    def _of(
        cls, token_id: int, logprob: float, tokenizer: Tokenizer, top: tuple[Self, ...] = ()
    ) -> Self:
        known = token_id < tokenizer.vocab_size  # a model may have more rows than words
        data = tokenizer.token_bytes(token_id) if known else b""
        return cls(token_id, data.decode("utf-8", "replace"), logprob, top, data)


@dataclass(frozen=True)
class Completion:
    """An answer. finish_reason: "stop", "tool_calls", "length" or "cancelled".

    logprobs: one for each of `token_ids`; None unless they were asked for. answer: the text
    without the reasoning, which is told as `reasoning`. tool_calls: what the model wants called.
    messages: what a conversation goes on with. cut_call: a call was begun and not finished.
    repairs: how often which rule put the model's format right. constraint_cost: what holding the
    answer to a format cost. prompt_logprobs: of the prompt's tokens from the second on, if asked
    for. stop: the stop string that ended it; stop_logprob: of the stop id that did, with logprobs.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    usage: Usage
    timings: Timings
    logprobs: tuple[TokenLogprob, ...] | None = None
    answer: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    messages: tuple[Message, ...] = ()
    cut_call: bool = False
    repairs: Mapping[str, int] = field(default_factory=dict)
    constraint_cost: Cost | None = None
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None
    stop: str | None = None
    stop_logprob: TokenLogprob | None = None


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds > 0 and tokens > 0 else 0.0
