"""Owns what a token of a bench costs: bytes read and operations, with the experts truly touched.

`ingle.ops.count` prices the model's own description; which experts a step of several tokens goes
to, a watched step says. It does not know seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ingle.backends.cpu.watching import WatchingBackend
from ingle.cli.workload import Workload
from ingle.ops.count import KV_VALUE_BYTES, Counter, Rows
from ingle.ops.protocol import Experts, Moe, Norm, run_model
from ingle.runtime.engine import num_local_experts

_WATCHED_STEPS = 4  # of a test: different ids go to different experts


@dataclass(frozen=True)
class Traffic:
    """Of one token: bytes of weights, keys and values read or written; operations of matrices and
    attention, two per multiply-add."""

    nbytes: float
    operations: float


def traffic(workload: Workload) -> Traffic:
    """The mean over a test's steps. Mixtures of experts run a few steps more, watched and untimed,
    where several tokens go through them at once."""
    test = workload.test
    steps = list(test.steps())
    watched: list[list[int]] = []
    if num_local_experts(workload.model) and steps[0][1] * test.batch > 1:
        watched = _distinct_experts(workload, steps)
    nbytes = operations = 0.0
    for start, count in steps:
        for distinct in watched or [[]]:
            counter = TouchedCounter(count, start, test.batch, distinct, workload.value_bytes)
            run_model(workload.model, counter)
            cost, share = counter.cost, len(watched) or 1
            kv = cost.kv_read_bytes + cost.kv_written_bytes
            nbytes += (cost.weights_read_bytes + kv) / share
            operations += (cost.matrix_flops + cost.attention_flops) / share
    tokens = test.tokens * test.batch
    return Traffic(nbytes / tokens, operations / tokens)


class TouchedCounter(Counter):
    """Counts of every mixture so many experts as `distinct` says, layer by layer; where it says
    nothing, as many as the tokens choose at most (exact for one token)."""

    def __init__(
        self,
        tokens: int,
        start: int,
        sequences: int,
        distinct: Sequence[int],
        value_bytes: int = KV_VALUE_BYTES,
    ) -> None:
        super().__init__(tokens, start, sequences, value_bytes)
        self._distinct = iter(distinct)
        self._touched: int | None = None

    def moe(self, x: Rows, norm: Norm, moe: Moe) -> Rows:
        """The next layer's number."""
        self._touched = next(self._distinct, None)
        return super().moe(x, norm, moe)

    def expert_linear(self, x: Rows, experts: Experts, choice: int, rank: int) -> Rows:
        """Arithmetic as `Counter`; bytes of the touched experts, with the first rank."""
        if self._touched is None:
            return super().expert_linear(x, experts, choice, rank)
        before = self.cost.weights_read_bytes
        out = super().expert_linear(x, experts, choice, rank)
        self._add(weights_read_bytes=before - self.cost.weights_read_bytes)
        if rank == 0:
            num_experts = experts.weight.meta.shape[0]
            for weight in (experts.weight, experts.bias):
                if weight is not None:
                    each = weight.meta.nbytes // num_experts
                    self._add(weights_read_bytes=each * self._touched)
        return out


def _distinct_experts(workload: Workload, steps: list[tuple[int, int]]) -> list[list[int]]:
    """Of a few steps, the experts that any token went to, layer by layer."""
    watching = WatchingBackend(workload.backend.pool.threads)
    seen: list[list[int]] = []
    before: list[NDArray[np.int64]] | None = None
    for start, count in islice(steps, _WATCHED_STEPS):
        workload.forward(start, count, watching)
        counts = [
            squares.counts.copy()
            for name, squares in watching.squares.items()
            if "ffn_down_exps" in name
        ]
        new = counts if before is None else [c - b for c, b in zip(counts, before, strict=True)]
        seen.append([int((layer > 0).sum()) for layer in new])
        before = counts
    return seen
