"""Owns what a backend offers a model: primitives, and composites written in primitives.

A model calls composites. The reference backend, counting and capture inherit their default bodies
and so see every inner activation; fast backends override composites with fused kernels.
`X` is a backend's idea of activations, rows of tokens by columns; a model never looks inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ingle.numerics import Format
from ingle.ops.batch import Batch
from ingle.ops.shape import AttentionShape, RopeTable, Weight

X = TypeVar("X")


@dataclass(frozen=True)
class Linear:
    """y = x W^T + bias; weight (out, in)."""

    weight: Weight
    bias: Weight | None = None


@dataclass(frozen=True)
class Norm:
    """RMSNorm with a gain (width,); `eps` is added to the mean square."""

    weight: Weight
    eps: float


class Ops(ABC, Generic[X]):
    """One forward pass over one batch."""

    # --- primitives ---

    @abstractmethod
    def embed(self, table: Weight) -> X:
        """Rows of `table` (vocab_size, hidden_size) for the batch's ids: (T, hidden_size)."""

    @abstractmethod
    def norm(self, x: X, norm: Norm) -> X:
        """x / sqrt(mean(x^2) + eps) * gain, row by row."""

    @abstractmethod
    def linear(self, x: X, linear: Linear, precise: bool = False) -> X:
        """(T, in) -> (T, out). precise: where activations become integers, 16 bits instead of 8."""

    @abstractmethod
    def rope(self, x: X, shape: AttentionShape, rope: RopeTable) -> X:
        """Rotates each head of (T, heads * head_dim) by its row's position."""

    @abstractmethod
    def attend(self, q: X, k: X, v: X, shape: AttentionShape, sinks: Weight | None) -> X:
        """Appends k and v to the cache; causal softmax attention with optional sinks."""

    @abstractmethod
    def add(self, x: X, y: X) -> X:
        """x + y."""

    @abstractmethod
    def silu_mul(self, gate: X, up: X) -> X:
        """gate * sigmoid(gate) * up."""

    @abstractmethod
    def select_outputs(self, x: X) -> X:
        """The rows whose logits the batch asks for."""

    # --- composites ---

    def qkv(self, x: X, norm: Norm, q: Linear, k: Linear, v: Linear) -> tuple[X, X, X]:
        """Normalized input times three weights."""
        h = self.norm(x, norm)
        return self.linear(h, q), self.linear(h, k), self.linear(h, v)

    def attention(
        self,
        q: X,
        k: X,
        v: X,
        shape: AttentionShape,
        rope: RopeTable,
        sinks: Weight | None = None,
    ) -> X:
        """Rotated q and k, then attention: (T, heads * head_dim)."""
        q = self.rope(q, shape, rope)
        k = self.rope(k, shape, rope)
        return self.attend(q, k, v, shape, sinks)

    def attention_out(self, x: X, attended: X, out: Linear) -> X:
        """Residual x plus the output projection."""
        return self.add(x, self.linear(attended, out))

    def mlp(self, x: X, norm: Norm, gate: Linear, up: Linear, down: Linear) -> X:
        """Residual x plus SwiGLU: down(silu(gate(h)) * up(h)) of the normalized h."""
        h = self.norm(x, norm)
        hidden = self.silu_mul(self.linear(h, gate), self.linear(h, up))
        return self.add(x, self.linear(hidden, down))

    def logits(self, x: X, norm: Norm, head: Linear) -> X:
        """(R, vocab_size) of the rows that the batch wants."""
        return self.linear(self.norm(self.select_outputs(x), norm), head, precise=True)


class Model(Protocol):
    """An architecture with its weights in one backend."""

    @property
    def vocab_size(self) -> int:
        """Columns of the logits."""

    @property
    def num_hidden_layers(self) -> int:
        """Layers that `layer` accepts."""

    @property
    def max_position_embeddings(self) -> int:
        """Tokens of context the model was made for."""

    @property
    def attention_shapes(self) -> Sequence[AttentionShape]:
        """One per layer."""

    def embed(self, ops: Ops[X]) -> X:
        """The batch's tokens as activations."""

    def layer(self, ops: Ops[X], index: int, x: X) -> X:
        """One transformer block."""

    def head(self, ops: Ops[X], x: X) -> X:
        """Logits of the rows that the batch wants."""


class Backend(Protocol):
    """Makes weight handles and runs models whose handles it made."""

    name: str

    def matrix(self, name: str, fmt: Format, data: NDArray[np.uint8]) -> Weight:
        """A handle of encoded rows (rows, row_bytes); may keep a view of `data`."""

    def vector(self, name: str, values: NDArray[np.float32]) -> Weight:
        """A handle of a gain, bias or sinks, float32 (n,)."""

    def export(self, weight: Weight) -> NDArray[np.uint8]:
        """The encoded rows a handle was made of, bit for bit."""

    def forward(self, model: Model, batch: Batch) -> NDArray[np.float32]:
        """Logits float32 (R, vocab_size)."""

    @property
    def kernels(self) -> str:
        """Name of the instruction set or arithmetic in use."""


def run_model(model: Model, ops: Ops[X]) -> X:
    """All layers, from token ids to logits."""
    x = model.embed(ops)
    for index in range(model.num_hidden_layers):
        x = model.layer(ops, index, x)
    return model.head(ops, x)
