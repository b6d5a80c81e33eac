"""Owns what a backend offers a model: primitives, and composites written in primitives.

A model calls composites. The reference backend, counting and capture inherit their default bodies
and so see every inner activation; fast backends override composites with fused kernels.
`X` is a backend's idea of activations, rows of tokens by columns; a model never looks inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ingle.formats.packed import PackedTiles
from ingle.numerics import Format
from ingle.numerics.int8_inputs import InputRounding
from ingle.ops.batch import Batch
from ingle.ops.shape import AttentionShape, RopeTable, Weight

X = TypeVar("X")
Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Linear:
    """y = x W^T + bias; weight (out, in). rounding: what x goes through first, where a checkpoint
    of 8-bit weights asks for it."""

    weight: Weight
    bias: Weight | None = None
    rounding: InputRounding | None = None


SCANNED_ROWS = 32  # of the head, that stand or fall together
RESCORED = 128  # times SCANNED_ROWS: rows of the head that a second look is worth


@dataclass(frozen=True)
class ScannedHead(Linear):
    """A head in two stages: `scan` (out, in), of fewer bits, gives all logits; of its runs of
    SCANNED_ROWS rows the RESCORED with the largest maxima (ties: the earlier) are done again with
    `weight`. The others keep the scan's values."""

    scan: Weight | None = None


@dataclass(frozen=True)
class Norm:
    """RMSNorm (Zhang and Sennrich 2019), or with a bias LayerNorm (Ba et al. 2016).

    weight and bias (width,); `eps` is added to the mean square, or to the variance.
    """

    weight: Weight
    eps: float
    bias: Weight | None = None


@dataclass(frozen=True)
class Rotation:
    """What happens to heads before attention: norms of q and k per head, then rotation.

    rope None: positions entered with the embedding (GPT-2). q_norm, k_norm (head_dim,): Qwen3.
    """

    rope: RopeTable | None = None
    q_norm: Norm | None = None
    k_norm: Norm | None = None


class Activation(Enum):
    """What joins gate and up. GELU has no gate: it takes `up` alone."""

    SILU = "silu"  # gate * sigmoid(gate) * up
    CLAMPED_SWIGLU = "clamped_swiglu"  # gpt-oss: see `GPT_OSS_ALPHA`
    GELU_TANH = "gelu_tanh"  # GPT-2: tanh approximation


GPT_OSS_ALPHA = 1.702  # a * sigmoid(alpha * a) * (b + 1), a = min(gate, limit),
GPT_OSS_LIMIT = 7.0  # b = clamp(up, -limit, limit)


class Routing(Enum):
    """How router logits become the weights of the chosen experts."""

    SOFTMAX_OF_TOP_K = "softmax_of_top_k"  # gpt-oss: choose, then softmax over the chosen
    TOP_K_OF_SOFTMAX = "top_k_of_softmax"  # Qwen3-MoE: softmax over all, choose, renormalize


@dataclass(frozen=True)
class Experts:
    """A stack of linear layers: weight (num_local_experts, out, in), bias (num_local_experts, out).

    A handle of three dimensions: expert e's rows are one matrix.
    """

    weight: Weight
    bias: Weight | None = None


@dataclass(frozen=True)
class Moe:
    """A mixture of experts: router (num_local_experts, hidden_size) and three stacks.

    renormalize: divide the chosen weights by their sum (TOP_K_OF_SOFTMAX only).
    """

    router: Linear
    gate: Experts
    up: Experts
    down: Experts
    num_local_experts: int
    num_experts_per_tok: int
    routing: Routing
    activation: Activation
    renormalize: bool = True


class Ops(ABC, Generic[X]):
    """One forward pass over one batch, in the composites that models are written in."""

    @abstractmethod
    def embed(self, table: Weight, positions: Weight | None = None) -> X:
        """Rows of `table` (vocab_size, hidden_size) for the batch's ids, plus those of `positions`
        (max_position_embeddings, hidden_size) for its positions: (T, hidden_size)."""

    @abstractmethod
    def qkv(self, x: X, norm: Norm, q: Linear, k: Linear, v: Linear) -> tuple[X, X, X]:
        """Normalized input times three weights."""

    @abstractmethod
    def attention(
        self,
        q: X,
        k: X,
        v: X,
        shape: AttentionShape,
        rotation: Rotation,
        sinks: Weight | None = None,
    ) -> X:
        """Normalized and rotated q and k, then attention: (T, heads * head_dim)."""

    @abstractmethod
    def attention_out(self, x: X, attended: X, out: Linear) -> X:
        """Residual x plus the output projection."""

    @abstractmethod
    def mlp(
        self,
        x: X,
        norm: Norm,
        gate: Linear | None,
        up: Linear,
        down: Linear,
        activation: Activation = Activation.SILU,
    ) -> X:
        """Residual x plus down(activation(gate(h), up(h))) of the normalized h."""

    @abstractmethod
    def moe(self, x: X, norm: Norm, moe: Moe) -> X:
        """Residual x plus the weighted sum of the chosen experts, added in the router's order."""

    @abstractmethod
    def logits(self, x: X, norm: Norm, head: Linear) -> X:
        """(R, vocab_size) of the rows that the batch wants."""


class PrimitiveOps(Ops[X], Generic[X, Choice]):
    """Composites written in primitives. Whoever inherits them sees every inner activation.

    `Choice`: which experts each row goes to, and how much.
    """

    # --- primitives ---

    @abstractmethod
    def norm(self, x: X, norm: Norm) -> X:
        """RMSNorm or LayerNorm, row by row."""

    @abstractmethod
    def head_norm(self, x: X, norm: Norm, head_dim: int) -> X:
        """RMSNorm of each head of (T, heads * head_dim)."""

    @abstractmethod
    def linear(self, x: X, linear: Linear, precise: bool = False) -> X:
        """(T, in) -> (T, out). precise: where activations become integers, 16 bits instead of 8."""

    @abstractmethod
    def rescore(self, x: X, scanned: X, head: ScannedHead) -> X:
        """`scanned` (R, out), its most promising rows as `head.weight` gives them for x (R, in)."""

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
    def activate(self, activation: Activation, gate: X | None, up: X) -> X:
        """The hidden state of an MLP from its projections; gate is None for GELU_TANH."""

    @abstractmethod
    def route(self, logits: X, moe: Moe) -> Choice:
        """The experts of each row in descending order of weight; ties go to the lower index."""

    @abstractmethod
    def expert_linear(self, x: X, experts: Experts, choice: Choice, rank: int) -> X:
        """Each row through its expert of the given rank: (T, in) -> (T, out)."""

    @abstractmethod
    def add_weighted(self, total: X | None, y: X, choice: Choice, rank: int) -> X:
        """total + weight of the rank * y; total None is zero."""

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
        rotation: Rotation,
        sinks: Weight | None = None,
    ) -> X:
        """Normalized and rotated q and k, then attention: (T, heads * head_dim)."""
        if rotation.q_norm is not None:
            q = self.head_norm(q, rotation.q_norm, shape.head_dim)
        if rotation.k_norm is not None:
            k = self.head_norm(k, rotation.k_norm, shape.head_dim)
        if rotation.rope is not None:
            q = self.rope(q, shape, rotation.rope)
            k = self.rope(k, shape, rotation.rope)
        return self.attend(q, k, v, shape, sinks)

    def attention_out(self, x: X, attended: X, out: Linear) -> X:
        """Residual x plus the output projection."""
        return self.add(x, self.linear(attended, out))

    def mlp(
        self,
        x: X,
        norm: Norm,
        gate: Linear | None,
        up: Linear,
        down: Linear,
        activation: Activation = Activation.SILU,
    ) -> X:
        """Residual x plus down(activation(gate(h), up(h))) of the normalized h."""
        h = self.norm(x, norm)
        gated = None if gate is None else self.linear(h, gate)
        hidden = self.activate(activation, gated, self.linear(h, up))
        return self.add(x, self.linear(hidden, down))

    def moe(self, x: X, norm: Norm, moe: Moe) -> X:
        """Residual x plus the weighted sum of the chosen experts, added in the router's order."""
        h = self.norm(x, norm)
        choice = self.route(self.linear(h, moe.router), moe)
        total: X | None = None
        for rank in range(self.num_ranks(moe)):
            gate = self.expert_linear(h, moe.gate, choice, rank)
            up = self.expert_linear(h, moe.up, choice, rank)
            hidden = self.activate(moe.activation, gate, up)
            y = self.expert_linear(hidden, moe.down, choice, rank)
            total = self.add_weighted(total, y, choice, rank)
        assert total is not None
        return self.add(x, total)

    def num_ranks(self, moe: Moe) -> int:
        """Experts per token of this forward: the model's, unless the batch says otherwise."""
        return moe.num_experts_per_tok

    def logits(self, x: X, norm: Norm, head: Linear) -> X:
        """(R, vocab_size) of the rows that the batch wants."""
        h = self.norm(self.select_outputs(x), norm)
        if not isinstance(head, ScannedHead) or head.scan is None:
            return self.linear(h, head, precise=True)
        return self.rescore(h, self.linear(h, Linear(head.scan), precise=True), head)


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
    """Makes weight handles and runs models whose handles it made.

    kv_type: what keys and values are kept as where nobody says otherwise (`ingle.ops.kv_type`).
    """

    name: str
    kv_type: str

    def matrix(self, name: str, fmt: Format, data: NDArray[np.uint8]) -> Weight:
        """A handle of encoded rows (rows, row_bytes), or of a stack of experts' rows
        (num_local_experts, rows, row_bytes); may keep a view of `data`."""

    def vector(self, name: str, values: NDArray[np.float32]) -> Weight:
        """A handle of a gain, bias or sinks, float32 (n,), or of experts' biases (experts, n)."""

    def export(self, weight: Weight) -> NDArray[np.uint8]:
        """The encoded rows a handle was made of, bit for bit."""

    def forward(self, model: Model, batch: Batch) -> NDArray[np.float32]:
        """Logits float32 (R, vocab_size)."""

    @property
    def kernels(self) -> str:
        """Name of the instruction set or arithmetic in use."""


@runtime_checkable
class TiledBackend(Backend, Protocol):
    """A backend whose kernels read the tiles of packed files where they lie."""

    def tiled(self, name: str, fmt: Format, tiles: PackedTiles) -> Weight:
        """A handle of a matrix, or a stack of them, that stays in the file's map."""


def run_model(model: Model, ops: Ops[X]) -> X:
    """All layers, from token ids to logits."""
    x = model.embed(ops)
    for index in range(model.num_hidden_layers):
        x = model.layer(ops, index, x)
    return model.head(ops, x)
