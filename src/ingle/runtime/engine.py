"""Owns running requests: prompt in chunks, then token by token. It speaks token ids only.

One sequence at a time. The keys and values of the last sequence stay, so a prompt that continues
it (the next turn of a chat) computes only what is new; the logits are the same bits either way.
Generations that take turns compute anew what the other displaced, and so disturb only its speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError, UnsupportedError
from ingle.ops import Backend, Batch, KvLayout, Model
from ingle.runtime.kv import KvPool, KvSequence, check_context
from ingle.runtime.logprobs import TokenLogprobs, token_logprobs
from ingle.runtime.request import FinishReason, Request
from ingle.runtime.sampling import Sampler

CHUNK_TOKENS = 512


@dataclass
class Progress:
    """What a running generation has done so far; times in seconds."""

    prompt_tokens: int
    cached_tokens: int = 0
    completion_tokens: int = 0
    prompt_s: float = 0.0
    decode_s: float = 0.0
    finish_reason: FinishReason = FinishReason.CANCELLED
    logprobs: list[TokenLogprobs] = field(default_factory=list)  # of the tokens handed out


class Engine:
    """A model in a backend with room for `context_tokens` of one sequence."""

    def __init__(self, model: Model, backend: Backend, context_tokens: int) -> None:
        check_context(context_tokens, model.max_position_embeddings)
        self.model = model
        self.backend = backend
        self.context_tokens = context_tokens
        self._layout = KvLayout(model.attention_shapes)
        self._reusable = all(group.window == 0 for group in self._layout.groups)
        self._pool = KvPool(self._layout, context_tokens, CHUNK_TOKENS)
        self._sequence = KvSequence(self._pool)
        self._cached_ids: list[int] = []
        self._num_experts_per_tok: int | None = None  # what the cache was computed with
        self._holder: object = None  # the generation whose sequence is in the cache
        self._step = Lock()  # around each use of the cache

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits after each of `ids`, from an empty context: float32 (len(ids), vocab_size)."""
        self._check_ids(ids)
        out = np.empty((len(ids), self.model.vocab_size), np.float32)
        with self._step:
            self._cached_ids, self._num_experts_per_tok, self._holder = [], None, None
            for start in range(0, len(ids), CHUNK_TOKENS):
                chunk = ids[start : start + CHUNK_TOKENS]
                out[start : start + len(chunk)] = self._forward(chunk, start, range(len(chunk)))
        return out

    def generate(self, request: Request, progress: Progress) -> Iterator[int]:
        """Token ids as they are drawn, without the stop id. `progress` is kept up to date."""
        self.check(request)
        ids = list(request.prompt_ids)
        room = self.context_tokens - len(request.prompt_ids)
        limit = room if request.max_tokens is None else min(room, request.max_tokens)
        vocab_size = self.model.vocab_size
        sampler = Sampler(request.sampling, vocab_size, request.prompt_ids, request.constraint)
        started = perf_counter()
        holder = object()
        logits, progress.cached_tokens = self._continue(ids, request, holder)
        drawn = _draw(sampler, logits, request)
        progress.prompt_s = perf_counter() - started
        progress.finish_reason = FinishReason.LENGTH
        while True:
            for token in drawn:
                progress.completion_tokens += 1
                if token in request.stop_ids:
                    progress.finish_reason = FinishReason.STOP
                    return
                if request.logprobs is not None:
                    progress.logprobs.append(token_logprobs(logits, token, request.logprobs))
                yield token
                if progress.completion_tokens == limit:
                    return
            started = perf_counter()
            ids += drawn
            logits, _ = self._continue(ids, request, holder)
            drawn = _draw(sampler, logits, request)
            progress.decode_s += perf_counter() - started

    def _continue(
        self, ids: Sequence[int], request: Request, holder: object
    ) -> tuple[NDArray[np.float32], int]:
        """Logits after the last of `ids`, and how many of them were in the cache."""
        with self._step:
            kept = len(self._cached_ids)
            if self._holder is not holder:
                self._use_experts(request.num_experts_per_tok)
                kept = _common_prefix(ids[:-1], self._cached_ids) if self._reusable else 0
                self._holder = holder
            return self._extend(ids, kept), kept

    def _extend(self, ids: Sequence[int], kept: int) -> NDArray[np.float32]:
        """Logits after the last of `ids`, of which the first `kept` are taken from the cache."""
        del self._cached_ids[kept:]
        logits = np.empty(0, np.float32)
        for start in range(kept, len(ids), CHUNK_TOKENS):
            chunk = ids[start : start + CHUNK_TOKENS]
            last = start + len(chunk) == len(ids)
            rows = self._forward(chunk, start, [len(chunk) - 1] if last else [])
            self._cached_ids.extend(chunk)
            logits = rows[0] if last else logits
        return logits

    def _forward(
        self, ids: Sequence[int], start: int, output_rows: Sequence[int]
    ) -> NDArray[np.float32]:
        experts = self._num_experts_per_tok
        batch = Batch.chunk(ids, start, self._pool, self._sequence, output_rows, experts)
        return self.backend.forward(self.model, batch)

    def _use_experts(self, count: int | None) -> None:
        """Keys and values of another number of experts are other numbers: none is reused."""
        if count != self._num_experts_per_tok:
            self._cached_ids, self._num_experts_per_tok = [], count

    def check(self, request: Request) -> None:
        """Raise IngleError for a request that this model or its context cannot take."""
        self._check_ids(request.prompt_ids)
        worst = max(request.sampling.logit_bias, default=0)
        if worst >= self.model.vocab_size:
            rule = f"ids must be from 0 to {self.model.vocab_size - 1}, but got {worst}"
            raise IngleError("logit_bias", rule)
        if request.num_experts_per_tok is not None:
            check_experts(request.num_experts_per_tok, num_local_experts(self.model))

    def _check_ids(self, ids: Sequence[int]) -> None:
        if not 1 <= len(ids) <= self.context_tokens:
            raise IngleError(
                "prompt",
                f"prompt must have 1 to {self.context_tokens} tokens, but got {len(ids)}",
                "load the model with a larger --context, or shorten the prompt",
            )
        if min(ids) < 0 or max(ids) >= self.model.vocab_size:
            raise IngleError(
                "prompt", f"token ids must be from 0 to {self.model.vocab_size - 1}, but got others"
            )


def num_local_experts(model: Model) -> int:
    """Experts per layer; 0 for a dense model."""
    config = getattr(model, "config", None)
    return getattr(model, "num_local_experts", getattr(config, "num_local_experts", 0))


def check_experts(count: int, available: int) -> None:
    """IngleError unless a model of `available` experts can use `count` for each token."""
    where = "num_experts_per_tok"
    if not available:
        rule = f"the model must be a mixture of experts, but got a dense one and {count}"
        raise UnsupportedError(where, rule, "leave the number of experts out")
    if not isinstance(count, int) or not 1 <= count <= available:
        raise IngleError(where, f"the count must be from 1 to {available}, but got {count!r:.60}")


def _draw(sampler: Sampler, logits: NDArray[np.float32], request: Request) -> list[int]:
    """The next token, and those that a constraint makes follow it: they are run as one chunk."""
    token = sampler.draw(logits)
    alone = token in request.stop_ids or request.logprobs is not None
    return [token] if alone else [token, *sampler.forced()]


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    limit = min(len(a), len(b))
    return next((i for i in range(limit) if a[i] != b[i]), limit)
