"""Owns a model that runs: requests in, token ids out. It speaks token ids only.

Many sequences run together (`scheduler`). The keys and values of what was computed stay as long as
there is room, so a prompt that continues it, such as the next turn of a chat, computes only what is
new; the logits are the same bits either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError, UnsupportedError
from ingle.ops import Backend, KvLayout, Model
from ingle.runtime.kv import KvPool, check_context
from ingle.runtime.pages import PagePool
from ingle.runtime.prefix import PrefixIndex
from ingle.runtime.prefix_store import PrefixStore
from ingle.runtime.request import Request
from ingle.runtime.scheduler import Scheduler
from ingle.runtime.task import Generation, Progress, Scoring, Task, Warming
from ingle.runtime.terms import USUAL, Terms
from ingle.runtime.turns import Turns

CHUNK_TOKENS = 512
MAX_RUNNING = 64  # sequences at a time, if their pages are there
MAX_WAITING = 256


class Engine:
    """A model in a backend with room for `sequences` of `context_tokens` each.

    cache_bytes: of pages more than that, for prefixes that may come again; what running sequences
    leave free serves them too. kv_type: what keys and values are kept as; None: as the backend has
    it. Any thread may call; one computes at a time, for all that wait.
    """

    def __init__(
        self,
        model: Model,
        backend: Backend,
        context_tokens: int,
        sequences: int = 1,
        cache_bytes: int = 0,
        max_waiting: int = MAX_WAITING,
        kv_type: str | None = None,
    ) -> None:
        check_context(context_tokens, model.max_position_embeddings)
        self.model = model
        self.backend = backend
        self.context_tokens = context_tokens
        self.store = KvPool(
            KvLayout(model.attention_shapes),
            context_tokens,
            CHUNK_TOKENS,
            sequences,
            cache_bytes,
            kv_type or backend.kv_type,
        )
        self.pool = PagePool(self.store)
        self.index = PrefixIndex(self.pool)
        self.turn_ids: frozenset[int] = frozenset()
        """Tokens at which a turn begins: prompts part there, so what is before them is kept."""
        self.scheduler = Scheduler(model, backend, self.pool, self.index, MAX_RUNNING, max_waiting)
        self._step = Turns()  # around each use of the scheduler

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits after each of `ids`, from an empty context: float32 (len(ids), vocab_size)."""
        self._check_ids(ids)
        out = np.empty((len(ids), self.model.vocab_size), np.float32)
        self._run(Scoring(ids, out))
        return out

    def warm(self, ids: Sequence[int]) -> None:
        """Computes a prefix that is likely to be asked for, unless it is at hand."""
        self._check_ids(ids)
        self._run(Warming(ids, None, USUAL))

    def generate(self, request: Request, progress: Progress) -> Iterator[int]:
        """Token ids as they are drawn, without the stop id. `progress` is kept up to date.

        Whoever reads computes: for all that wait for a token, and not ahead of anybody.
        """
        task = self.submit(request, progress)
        try:
            while (token := self._next(task)) is not None:
                yield token
                task.num_read += 1
        finally:
            self.cancel(task)

    def submit(self, request: Request, progress: Progress, terms: Terms = USUAL) -> Generation:
        """A generation in the line. Raises IngleError, BusyError when too many wait."""
        task = self.generation(request, progress, terms)
        self.put(task)
        return task

    def generation(self, request: Request, progress: Progress, terms: Terms = USUAL) -> Generation:
        """A generation that is not in the line yet. Raises IngleError."""
        self.check(request)
        room = self.context_tokens - len(request.prompt_ids)
        limit = room if request.max_tokens is None else min(room, request.max_tokens)
        if self.turn_ids and not terms.boundaries:
            turns = (i for i, token in enumerate(request.prompt_ids) if token in self.turn_ids)
            terms = replace(terms, boundaries=tuple(turns))
        # A prompt that fills the context has one token, which is never computed, as its answer.
        limit = max(limit, 0 if request.max_tokens == 0 else 1)
        return Generation(request, progress, limit, self.model.vocab_size, terms)

    def put(self, task: Task) -> None:
        """A task in the line. Raises BusyError when too many wait."""
        with self._step:
            self.scheduler.submit(task)

    def cancel(self, task: Task) -> None:
        """Ends a task after the step in progress."""
        with self._step:
            self.scheduler.cancel(task)

    def step(self) -> bool:
        """Computes one batch of what was submitted; False if nothing wants to run."""
        with self._step:
            return self.scheduler.step()

    def keep_prefixes(self, store: PrefixStore) -> None:
        """Prefixes are on disk too from now on."""
        self.scheduler.store = store

    @property
    def saving(self) -> bool:
        """Whether prefixes are to be written that are not on disk yet."""
        store = self.scheduler.store
        return store is not None and not store.failed and self.index.unsaved() is not None

    def save_prefix(self) -> bool:
        """Has one prefix written; for when nothing else is to be done. False if all are."""
        with self._step:
            return self.scheduler.save_prefix()

    def check(self, request: Request) -> None:
        """Raise IngleError for a request that this model or its context cannot take."""
        self._check_ids(request.prompt_ids)
        worst = max(request.sampling.logit_bias, default=0)
        if worst >= self.model.vocab_size:
            rule = f"ids must be from 0 to {self.model.vocab_size - 1}, but got {worst}"
            raise IngleError("logit_bias", rule)
        if request.num_experts_per_tok is not None:
            check_experts(request.num_experts_per_tok, num_local_experts(self.model))

    def status(self) -> dict[str, int]:
        """Numbers of tasks and bytes, for whoever looks after a server."""
        scheduler = self.scheduler
        return {
            "context": self.context_tokens,
            "running": len(scheduler.running),
            "waiting": len(scheduler.line),
            "max_waiting": scheduler.max_waiting,
            "kv_bytes": self.store.nbytes,
            "prefix_pages": len(self.index),
        }

    def _run(self, task: Task) -> None:
        self.put(task)
        try:
            while not task.done:
                self._advance(task)
        finally:
            self.cancel(task)
        if task.error is not None:
            raise task.error

    def _next(self, task: Generation) -> int | None:
        """The next token; None at the end."""
        while not task.unread and not task.done:
            self._advance(task)
        if task.unread:
            return task.unread.popleft()
        if task.error is not None:
            raise task.error
        return None

    def _advance(self, task: Task) -> None:
        with self._step:
            if task.wants:  # what another thread computed meanwhile may have been enough
                self.scheduler.step()

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
