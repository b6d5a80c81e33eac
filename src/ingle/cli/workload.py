"""Owns what a bench runs: prompts and decode steps of random ids, at a depth, in several sequences.

Ids are drawn anew for every step: greedy decoding loops, and flatters every cache. Keys and values
before the depth are random numbers, not those of a prompt: their values cost the same. It does not
know what is made of the seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from ingle.backends.cpu.backend import CpuBackend
from ingle.errors import IngleError
from ingle.ops import USUAL_KV_TYPE, Batch, KvArray, KvLayout, Model
from ingle.plan.kv import CHUNK_TOKENS, group_bytes
from ingle.runtime.kv import KvPool, KvSequence, check_context

_SEED = 20250805
_BLOCK_VALUES = 1 << 20  # random numbers that are drawn once and repeated
WARM_STEPS = 4  # of a decode, before the first that counts


@dataclass(frozen=True)
class Test:
    """`tokens` of a prompt in chunks, or steps of decoding in each of `batch` sequences."""

    decode: bool
    tokens: int
    depth: int = 0
    batch: int = 1

    @property
    def name(self) -> str:
        """As llama-bench calls it."""
        return f"{'tg' if self.decode else 'pp'}{self.tokens}"

    @property
    def positions(self) -> int:
        """Tokens that a sequence holds at the end."""
        return self.depth + self.tokens + (WARM_STEPS if self.decode else 0)

    def steps(self) -> Iterator[tuple[int, int]]:
        """(first position, tokens of each sequence) of every forward pass."""
        if self.decode:
            yield from ((self.depth + i, 1) for i in range(self.tokens))
            return
        for start in range(0, self.tokens, CHUNK_TOKENS):
            yield self.depth + start, min(CHUNK_TOKENS, self.tokens - start)


def check_tests(
    model: Model, tests: list[Test], memory_bytes: int | None, value_bytes: int
) -> None:
    """Raise IngleError for a test that the model's context or so much memory cannot hold.

    memory_bytes: None where nobody can tell. value_bytes: of a number that is kept.
    """
    layout = KvLayout(model.attention_shapes)
    for test in tests:
        check_context(test.positions, model.max_position_embeddings)
        each = (group_bytes(group, test.positions, value_bytes) for group in layout.groups)
        needed = test.batch * sum(each)
        if memory_bytes is not None and needed > memory_bytes:
            rule = f"keys and values must fit into {memory_bytes:,} bytes, but got {needed:,}"
            raise IngleError(f"{test.name} @ d{test.depth}", rule, "choose a smaller -d or --batch")


class Workload:
    """A model with sequences filled up to a test's depth, ready to be timed."""

    def __init__(
        self, model: Model, backend: CpuBackend, test: Test, kv_type: str = USUAL_KV_TYPE
    ) -> None:
        self.model, self.backend, self.test = model, backend, test
        layout = KvLayout(model.attention_shapes)
        self._pool = KvPool(layout, test.positions, CHUNK_TOKENS, test.batch, kv_type=kv_type)
        self.value_bytes = self._pool.dtype.itemsize
        self._views = [KvSequence(self._pool, place) for place in range(test.batch)]
        self._draw = np.random.default_rng(_SEED)
        if test.depth:
            for array in (*self._pool.keys, *self._pool.values):
                _fill(array, self._draw)

    def warm(self) -> None:
        """Record the tape, touch the weights, wake the threads."""
        if (
            self.test.decode
        ):  # many rows first: they go to every expert, whose pages are then mapped
            self.forward(self.test.depth, min(self.test.tokens + WARM_STEPS, CHUNK_TOKENS))
            for step in range(WARM_STEPS):
                self.forward(self.test.depth + step, 1)
        else:
            for start, count in self.test.steps():
                self.forward(start, count)

    def seconds(self) -> float:
        """Of all steps of the test, in order."""
        begun = perf_counter()
        for start, count in self.test.steps():
            self.forward(start, count)
        return perf_counter() - begun

    def forward(self, start: int, count: int, backend: CpuBackend | None = None) -> None:
        """`count` random ids in each sequence from position `start` on, logits of each last one."""
        (backend or self.backend).forward(self.model, self._batch(start, count))

    def _batch(self, start: int, count: int) -> Batch:
        sequences = self.test.batch
        rows = sequences * count
        ids = self._draw.integers(0, self.model.vocab_size, rows, np.int32)
        positions = np.tile(np.arange(start, start + count, dtype=np.int32), sequences)
        owners = np.repeat(np.arange(sequences, dtype=np.int32), count)
        last = np.arange(count - 1, rows, count, dtype=np.int32)
        return Batch(ids, positions, owners, last, self._pool, self._views)


def _fill(array: KvArray, draw: np.random.Generator) -> None:
    """Random numbers of the size that normalized keys have; a block of them, repeated."""
    block = draw.standard_normal(min(_BLOCK_VALUES, array.size), np.float32)
    flat = array.reshape(-1)
    for start in range(0, flat.size, block.size):
        part = flat[start : start + block.size]
        part[:] = block[: part.size]
