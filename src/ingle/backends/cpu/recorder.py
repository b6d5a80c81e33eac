"""Owns recording: a model's composites become steps of a native tape.

Activations are slots of the tape, not numbers; the tape runs later, for any batch. It does not
know batches, pages or threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ingle import _native
from ingle.backends.cpu.weight import CpuMatrix, CpuVector
from ingle.errors import UnsupportedError
from ingle.ops import AttentionShape, KvLayout, Linear, Norm, Ops, RopeTable, Weight

_BLOCK = 32  # columns of 8-bit activations that share a scale


@dataclass(frozen=True)
class Slot:
    """`width` columns of a tape's slot from `column` on."""

    index: int
    width: int
    column: int = 0


class Recorder(Ops[Slot]):
    """Overrides the composites with fused steps; the primitives never run alone on this backend."""

    def __init__(self, tape: _native.Tape, layout: KvLayout) -> None:
        self.tape = tape
        self.layout = layout
        self._shared: dict[tuple[str, int, int], Slot] = {}

    def embed(self, table: Weight) -> Slot:
        """The residual stream."""
        matrix = _matrix(table)
        out = self._slot("residual", matrix.meta.shape[1], int8_parts=0)
        self.tape.embed(matrix.native, out.index)
        return out

    def qkv(self, x: Slot, norm: Norm, q: Linear, k: Linear, v: Linear) -> tuple[Slot, Slot, Slot]:
        """One normalization, one step for the three weights."""
        h = self._normalized(x, norm, q, k, v)
        widths = [_matrix(part.weight).meta.shape[0] for part in (q, k, v)]
        out = self._slot("qkv", sum(widths), int8_parts=0)
        self._linear(h, (q, k, v), out, add=False)
        return (
            Slot(out.index, widths[0]),
            Slot(out.index, widths[1], widths[0]),
            Slot(out.index, widths[2], widths[0] + widths[1]),
        )

    def attention(
        self,
        q: Slot,
        k: Slot,
        v: Slot,
        shape: AttentionShape,
        rope: RopeTable,
        sinks: Weight | None = None,
    ) -> Slot:
        """Rotation and cache write, then attention."""
        assert q.index == k.index == v.index and q.column == 0
        _check_shape(shape)
        group, layer = self.layout.place[shape.layer]
        native = _native.AttentionShape(
            shape.num_attention_heads,
            shape.num_key_value_heads,
            shape.head_dim,
            shape.window,
            group,
            layer,
            shape.scale,
        )
        self.tape.store_kv(q.index, native, rope.cos, rope.sin, rope.interleaved)
        out = self._slot("attended", q.width, int8_parts=int(q.width % _BLOCK == 0))
        self.tape.attend(q.index, native, None if sinks is None else _vector(sinks), out.index)
        return out

    def attention_out(self, x: Slot, attended: Slot, out: Linear) -> Slot:
        """Adds the projection to the residual in place."""
        self._linear(attended, (out,), x, add=True)
        return x

    def mlp(self, x: Slot, norm: Norm, gate: Linear, up: Linear, down: Linear) -> Slot:
        """Gate, up and SwiGLU in one step; down adds to the residual in place."""
        if gate.bias is not None or up.bias is not None:
            raise UnsupportedError("mlp", "gate and up must have no bias, but got one")
        h = self._normalized(x, norm, gate, up)
        hidden = self._slot("hidden", _matrix(gate.weight).meta.shape[0], int8_parts=1)
        matrices = _matrix(gate.weight).native, _matrix(up.weight).native
        self.tape.gate_up(h.index, *matrices, hidden.index)
        self._linear(hidden, (down,), x, add=True)
        return x

    def logits(self, x: Slot, norm: Norm, head: Linear) -> Slot:
        """Norm and head of the wanted rows, straight into the caller's array."""
        chosen = self._slot("outputs", x.width, int8_parts=0)
        self.tape.select_outputs(x.index, chosen.index)
        h = self._normalized(chosen, norm, head, parts=2)
        self.tape.logits(h.index, _matrix(head.weight).native)
        return h

    def _normalized(self, x: Slot, norm: Norm, *consumers: Linear, parts: int = 1) -> Slot:
        int8 = any(_matrix(c.weight).wants_int8 for c in consumers)
        out = self._slot("normalized", x.width, parts if int8 else 0)
        self.tape.norm(x.index, _vector(norm.weight), norm.eps, out.index)
        return out

    def _linear(self, x: Slot, parts: tuple[Linear, ...], out: Slot, add: bool) -> None:
        weights = [_matrix(part.weight).native for part in parts]
        biases = [None if part.bias is None else _vector(part.bias) for part in parts]
        self.tape.linear(x.index, weights, biases, out.index, add)

    def _slot(self, role: str, width: int, int8_parts: int) -> Slot:
        """Layers run one after another, so slots of one role and width are shared."""
        key = (role, width, int8_parts)
        if key not in self._shared:
            self._shared[key] = Slot(self.tape.slot(width, int8_parts), width)
        return self._shared[key]

    # The primitives exist so that a default body can never be recorded half.

    def norm(self, x: Slot, norm: Norm) -> Slot:
        """Not recorded alone."""
        _not_alone("norm")

    def linear(self, x: Slot, linear: Linear, precise: bool = False) -> Slot:
        """Not recorded alone."""
        _not_alone("linear")

    def rope(self, x: Slot, shape: AttentionShape, rope: RopeTable) -> Slot:
        """Not recorded alone."""
        _not_alone("rope")

    def attend(
        self, q: Slot, k: Slot, v: Slot, shape: AttentionShape, sinks: Weight | None
    ) -> Slot:
        """Not recorded alone."""
        _not_alone("attend")

    def add(self, x: Slot, y: Slot) -> Slot:
        """Not recorded alone."""
        _not_alone("add")

    def silu_mul(self, gate: Slot, up: Slot) -> Slot:
        """Not recorded alone."""
        _not_alone("silu_mul")

    def select_outputs(self, x: Slot) -> Slot:
        """Not recorded alone."""
        _not_alone("select_outputs")


def _matrix(weight: Weight) -> CpuMatrix:
    assert isinstance(weight, CpuMatrix)
    return weight


def _vector(weight: Weight) -> NDArray[np.float32]:
    assert isinstance(weight, CpuVector)
    return weight.values


def _check_shape(shape: AttentionShape) -> None:
    if shape.head_dim % 16 or not 16 <= shape.head_dim <= 256:
        raise UnsupportedError(
            "attention",
            f"head_dim must be a multiple of 16 up to 256 on the cpu backend, "
            f"but got {shape.head_dim}",
            "try --backend reference",
        )


def _not_alone(primitive: str) -> NoReturn:
    raise NotImplementedError(f"{primitive} is part of a fused step on the cpu backend")
