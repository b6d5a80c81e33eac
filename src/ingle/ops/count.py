"""Owns what a forward pass costs: arithmetic, bytes of weights, bytes of keys and values.

An interpreter whose activations are shapes: it runs the model's own description, so it counts what
runs. Weights are only metadata. It does not know machines, nor how long anything takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ingle.errors import UnsupportedError
from ingle.numerics import Format
from ingle.ops.batch import Batch
from ingle.ops.kv_type import USUAL_KV_TYPE, kv_dtype
from ingle.ops.protocol import (
    RESCORED,
    SCANNED_ROWS,
    Activation,
    Experts,
    Linear,
    Model,
    Moe,
    Norm,
    PrimitiveOps,
    ScannedHead,
    run_model,
)
from ingle.ops.shape import AttentionShape, RopeTable, Weight, WeightMeta

KV_VALUE_BYTES = kv_dtype(USUAL_KV_TYPE).itemsize


@dataclass(frozen=True)
class CountedWeight:
    """A tensor of which only the facts are known."""

    meta: WeightMeta


class CountingBackend:
    """Makes handles without data, so that a model of any size loads at once. It runs nothing."""

    name = "count"
    kv_type = USUAL_KV_TYPE

    @property
    def kernels(self) -> str:
        """None."""
        return "none"

    def matrix(self, name: str, fmt: Format, data: NDArray[np.uint8]) -> CountedWeight:
        """The facts of a matrix or stack; `data` is not read."""
        shape = (*data.shape[:-1], fmt.columns(data.shape[-1]))
        return CountedWeight(WeightMeta(name, fmt.name, shape, data.size))

    def vector(self, name: str, values: NDArray[np.float32]) -> CountedWeight:
        """The facts of a vector, or of experts' biases."""
        return CountedWeight(WeightMeta(name, "F32", values.shape, values.nbytes))

    def export(self, weight: Weight) -> NDArray[np.uint8]:
        """UnsupportedError: no data were kept."""
        raise UnsupportedError(weight.meta.name, "weight must have data, but got only its shape")

    def forward(self, model: Model, batch: Batch) -> NDArray[np.float32]:
        """UnsupportedError: use `count`."""
        raise UnsupportedError("backend", "backend must compute, but got one that only counts")


@dataclass(frozen=True)
class Cost:
    """What one step costs.

    matrix_flops: 2 for each multiply-add with a matrix of weights, router and head included.
    attention_flops: 2 for each multiply-add of scores and of the sum of values. Norms, rotations,
    activations and softmax are in neither.
    weights_read_bytes: every weight of the step once; of experts, as many different ones as the
    step's tokens can choose at most (for one token: exactly the active ones); one row of the
    embedding per token.
    kv_written_bytes, kv_read_bytes: keys and values of new, and of all visible tokens.
    parameters: of the whole model. active_parameters: those a token passes through, which is
    all but the experts not chosen and tables that are only looked up in (a tied embedding is
    active as the output matrix). weights_bytes: of the whole model.
    """

    matrix_flops: int = 0
    attention_flops: int = 0
    weights_read_bytes: int = 0
    kv_written_bytes: int = 0
    kv_read_bytes: int = 0
    parameters: int = 0
    active_parameters: int = 0
    weights_bytes: int = 0


@dataclass(frozen=True)
class Rows:
    """The shape of activations."""

    rows: int
    columns: int


def count(
    model: Model,
    tokens: int = 1,
    start: int = 0,
    sequences: int = 1,
    kv_value_bytes: int = KV_VALUE_BYTES,
) -> Cost:
    """The cost of `tokens` consecutive tokens, the first at position `start`, in each of
    `sequences` sequences, with logits for the last token of each."""
    counter = Counter(tokens, start, sequences, kv_value_bytes)
    run_model(model, counter)
    return counter.cost


class Counter(PrimitiveOps[Rows, int]):
    """Adds up `cost` while a model, or some layers of it, run. A choice is a number of experts."""

    def __init__(
        self,
        tokens: int = 1,
        start: int = 0,
        sequences: int = 1,
        kv_value_bytes: int = KV_VALUE_BYTES,
    ) -> None:
        self.tokens = tokens
        self.start = start
        self.sequences = sequences
        self.kv_value_bytes = kv_value_bytes
        self.cost = Cost()
        self._seen: dict[int, tuple[Weight, int]] = {}  # by id: the handle, active parameters

    def embed(self, table: Weight, positions: Weight | None = None) -> Rows:
        """Looks up a row per token."""
        rows = self.tokens * self.sequences
        for weight in (table, positions):
            if weight is not None:
                self._see(weight, active=0)
                self._add(weights_read_bytes=rows * (weight.meta.nbytes // weight.meta.shape[0]))
        return Rows(rows, table.meta.shape[1])

    def norm(self, x: Rows, norm: Norm) -> Rows:
        """Reads gain and bias."""
        self._read(norm.weight)
        if norm.bias is not None:
            self._read(norm.bias)
        return x

    def head_norm(self, x: Rows, norm: Norm, head_dim: int) -> Rows:
        """Reads the gain."""
        return self.norm(x, norm)

    def linear(self, x: Rows, linear: Linear, precise: bool = False) -> Rows:
        """2 rows in out."""
        out, columns = linear.weight.meta.shape
        assert columns == x.columns, f"{linear.weight.meta.name} takes {columns}, not {x.columns}"
        self._read(linear.weight)
        if linear.bias is not None:
            self._read(linear.bias)
        self._add(matrix_flops=2 * x.rows * columns * out)
        return Rows(x.rows, out)

    def rescore(self, x: Rows, scanned: Rows, head: ScannedHead) -> Rows:
        """Reads the rows that are looked at twice; of one token, the same for every other."""
        rows, columns = head.weight.meta.shape
        again = min(rows, x.rows * RESCORED * SCANNED_ROWS)
        self._see(head.weight, active=None)
        self._add(
            weights_read_bytes=head.weight.meta.nbytes * again // rows,
            matrix_flops=2 * x.rows * columns * min(rows, RESCORED * SCANNED_ROWS),
        )
        return scanned

    def rope(self, x: Rows, shape: AttentionShape, rope: RopeTable) -> Rows:
        """Costs nothing that is counted."""
        return x

    def attend(
        self, q: Rows, k: Rows, v: Rows, shape: AttentionShape, sinks: Weight | None
    ) -> Rows:
        """A sink is a number in the softmax, no multiply-add."""
        if sinks is not None:
            self._read(sinks)
        pairs = self.sequences * sum(
            _visible(position, shape.window)
            for position in range(self.start, self.start + self.tokens)
        )
        end = self.start + self.tokens
        first = max(0, self.start + 1 - shape.window) if shape.window else 0
        row_bytes = (k.columns + v.columns) * self.kv_value_bytes
        self._add(
            attention_flops=4 * pairs * shape.num_attention_heads * shape.head_dim,
            kv_written_bytes=k.rows * row_bytes,
            kv_read_bytes=self.sequences * (end - first) * row_bytes,
        )
        return q

    def add(self, x: Rows, y: Rows) -> Rows:
        """Costs nothing that is counted."""
        assert x == y
        return x

    def activate(self, activation: Activation, gate: Rows | None, up: Rows) -> Rows:
        """Costs nothing that is counted."""
        return up

    def route(self, logits: Rows, moe: Moe) -> int:
        """How many experts a token goes to."""
        return self.num_ranks(moe)

    def expert_linear(self, x: Rows, experts: Experts, choice: int, rank: int) -> Rows:
        """2 rows in out; reads the experts that no earlier rank can have read."""
        num_experts, out, columns = experts.weight.meta.shape
        assert columns == x.columns, f"{experts.weight.meta.name} takes {columns}, not {x.columns}"
        new = min(num_experts, x.rows * (rank + 1)) - min(num_experts, x.rows * rank)
        for weight in (experts.weight, experts.bias):
            if weight is not None:
                self._see(weight, active=choice)
                self._add(weights_read_bytes=weight.meta.nbytes // num_experts * new)
        self._add(matrix_flops=2 * x.rows * columns * out)
        return Rows(x.rows, out)

    def add_weighted(self, total: Rows | None, y: Rows, choice: int, rank: int) -> Rows:
        """Costs nothing that is counted."""
        return y

    def select_outputs(self, x: Rows) -> Rows:
        """The last token of each sequence."""
        return replace(x, rows=self.sequences)

    def _read(self, weight: Weight) -> None:
        self._see(weight, active=None)
        self._add(weights_read_bytes=weight.meta.nbytes)

    def _see(self, weight: Weight, active: int | None) -> None:
        """Count a handle's parameters once. active: slices a token passes through, None for all."""
        shape = weight.meta.shape
        size = math.prod(shape)
        if id(weight) not in self._seen:
            self._add(parameters=size, weights_bytes=weight.meta.nbytes)
        _, before = self._seen.get(id(weight), (weight, 0))
        now = size if active is None else size // shape[0] * active
        self._seen[id(weight)] = (weight, max(before, now))
        self._add(active_parameters=max(0, now - before))

    def _add(self, **amounts: int) -> None:
        self.cost = replace(
            self.cost, **{name: getattr(self.cost, name) + n for name, n in amounts.items()}
        )


def _visible(position: int, window: int) -> int:
    """Tokens a token sees, itself included."""
    return min(position + 1, window) if window else position + 1
