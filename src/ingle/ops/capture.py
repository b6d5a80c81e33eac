"""Owns watching a forward pass: what goes into every matrix, for importance matrices.

It wraps an interpreter that does the work. It does not know what is made of what it reports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ingle.ops.protocol import Activation, Experts, Linear, Moe, Norm, PrimitiveOps, ScannedHead
from ingle.ops.shape import AttentionShape, RopeTable, Weight

Floats = NDArray[np.float32]

Report = Callable[[str, Floats, NDArray[np.intp] | None], None]
"""Told (name of the weight, its input (n, in), expert of each row (n,) or None).

The input is the interpreter's own array: copy what is to be kept.
"""


class RoutedRows(Protocol):
    """A choice of experts that shows itself."""

    @property
    def ids(self) -> NDArray[np.intp]:
        """Experts of each row in the router's order (T, ranks)."""


Routed = TypeVar("Routed", bound=RoutedRows)


class Capture(PrimitiveOps[Floats, Routed], Generic[Routed]):
    """`inner`, with `report` called before every multiplication with a matrix."""

    def __init__(self, inner: PrimitiveOps[Floats, Routed], report: Report) -> None:
        self.inner = inner
        self.report = report

    def linear(self, x: Floats, linear: Linear, precise: bool = False) -> Floats:
        """Reports x."""
        self.report(linear.weight.meta.name, x, None)
        return self.inner.linear(x, linear, precise)

    def expert_linear(self, x: Floats, experts: Experts, choice: Routed, rank: int) -> Floats:
        """Reports x and the expert of each row."""
        self.report(experts.weight.meta.name, x, choice.ids[:, rank])
        return self.inner.expert_linear(x, experts, choice, rank)

    def embed(self, table: Weight, positions: Weight | None = None) -> Floats:
        """As `inner`."""
        return self.inner.embed(table, positions)

    def norm(self, x: Floats, norm: Norm) -> Floats:
        """As `inner`."""
        return self.inner.norm(x, norm)

    def head_norm(self, x: Floats, norm: Norm, head_dim: int) -> Floats:
        """As `inner`."""
        return self.inner.head_norm(x, norm, head_dim)

    def rescore(self, x: Floats, scanned: Floats, head: ScannedHead) -> Floats:
        """As `inner`: rows of the head see what its scan saw."""
        return self.inner.rescore(x, scanned, head)

    def rope(self, x: Floats, shape: AttentionShape, rope: RopeTable) -> Floats:
        """As `inner`."""
        return self.inner.rope(x, shape, rope)

    def attend(
        self, q: Floats, k: Floats, v: Floats, shape: AttentionShape, sinks: Weight | None
    ) -> Floats:
        """As `inner`."""
        return self.inner.attend(q, k, v, shape, sinks)

    def add(self, x: Floats, y: Floats) -> Floats:
        """As `inner`."""
        return self.inner.add(x, y)

    def activate(self, activation: Activation, gate: Floats | None, up: Floats) -> Floats:
        """As `inner`."""
        return self.inner.activate(activation, gate, up)

    def route(self, logits: Floats, moe: Moe) -> Routed:
        """As `inner`."""
        return self.inner.route(logits, moe)

    def add_weighted(self, total: Floats | None, y: Floats, choice: Routed, rank: int) -> Floats:
        """As `inner`."""
        return self.inner.add_weighted(total, y, choice, rank)

    def num_ranks(self, moe: Moe) -> int:
        """As `inner`."""
        return self.inner.num_ranks(moe)

    def select_outputs(self, x: Floats) -> Floats:
        """As `inner`."""
        return self.inner.select_outputs(x)
