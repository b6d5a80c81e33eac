"""Owns recording: a model's composites become steps of a native tape.

Activations are slots of the tape, not numbers; the tape runs later, for any batch. It does not
know batches, pages or threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingle import _native
from ingle.backends.cpu.weight import CpuMatrix, CpuVector
from ingle.errors import UnsupportedError
from ingle.ops import (
    Activation,
    AttentionShape,
    Experts,
    KvLayout,
    Linear,
    Moe,
    Norm,
    Ops,
    Rotation,
    ScannedHead,
    Weight,
)
from ingle.ops.protocol import RESCORED

_BLOCK = 32  # columns of 8-bit activations that share a scale


@dataclass(frozen=True)
class Slot:
    """`width` columns of a tape's slot from `column` on."""

    index: int
    width: int
    column: int = 0


class Recorder(Ops[Slot]):
    """Every composite is one step or a few. exact: activations stay float everywhere."""

    def __init__(self, tape: _native.Tape, layout: KvLayout, exact: bool = False) -> None:
        self.tape = tape
        self.layout = layout
        self.exact = exact
        self._shared: dict[tuple[str, int, int], Slot] = {}

    def embed(self, table: Weight, positions: Weight | None = None) -> Slot:
        """The residual stream. Tables of a packed file are read tile by tile, not mapped."""
        matrix = _matrix(table)
        out = self._slot("residual", matrix.meta.shape[1])
        if positions is None:
            self.tape.embed(matrix.native, None, out.index, matrix.tiles.place)
            return out
        places = _matrix(positions)
        at = (matrix.tiles.place, places.tiles.place)
        self.tape.embed(matrix.native, places.native, out.index, *at)
        return out

    def qkv(self, x: Slot, norm: Norm, q: Linear, k: Linear, v: Linear) -> tuple[Slot, Slot, Slot]:
        """One normalization, one step for the three weights."""
        h = self._normalized(x, norm, q, k, v)
        widths = [_matrix(part.weight).meta.shape[0] for part in (q, k, v)]
        out = self._slot("qkv", sum(widths))
        if q.rounding == k.rounding == v.rounding:
            self._linear(h, (q, k, v), out, add=False)
        else:
            for part, column in zip((q, k, v), (0, widths[0], widths[0] + widths[1]), strict=True):
                self._linear(h, (part,), out, add=False, column=column)
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
        rotation: Rotation,
        sinks: Weight | None = None,
    ) -> Slot:
        """Head norms, rotation and cache write in one step, then attention."""
        assert q.index == k.index == v.index and q.column == 0
        native = self._native_shape(shape)
        rope, norms = rotation.rope, (rotation.q_norm, rotation.k_norm)
        self.tape.store_kv(
            q.index,
            native,
            None if rope is None else rope.cos,
            None if rope is None else rope.sin,
            rope is not None and rope.interleaved,
            None if rotation.q_norm is None else _vector(rotation.q_norm.weight),
            None if rotation.k_norm is None else _vector(rotation.k_norm.weight),
            max((norm.eps for norm in norms if norm is not None), default=0.0),
        )
        out = self._slot("attended", q.width, int(q.width % _BLOCK == 0))
        self.tape.attend(q.index, native, None if sinks is None else _vector(sinks), out.index)
        return out

    def attention_out(self, x: Slot, attended: Slot, out: Linear) -> Slot:
        """Adds the projection to the residual in place."""
        self._linear(attended, (out,), x, add=True)
        return x

    def mlp(
        self,
        x: Slot,
        norm: Norm,
        gate: Linear | None,
        up: Linear,
        down: Linear,
        activation: Activation = Activation.SILU,
    ) -> Slot:
        """Gate, up and activation in one step; down adds to the residual in place."""
        projections = [up] if gate is None else [gate, up]
        h = self._normalized(x, norm, *projections)
        hidden = self._slot("hidden", _hidden_width(up.weight), 1)
        alike = [one for one in projections if one.rounding == up.rounding]
        source = up_source = self._rounded(h, *alike)
        if gate is not None and gate.rounding != up.rounding:
            source = self._rounded(h, gate, role="rounded for gate")
        self.tape.gate_up(
            source.index,
            None if gate is None else _matrix(gate.weight).native,
            None if gate is None else _optional(gate.bias),
            _matrix(up.weight).native,
            _optional(up.bias),
            activation.value,
            hidden.index,
            up_source.index,
        )
        self._linear(hidden, (down,), x, add=True)
        return x

    def moe(self, x: Slot, norm: Norm, moe: Moe) -> Slot:
        """Router, choice, grouped experts and their sum; the residual grows in place."""
        h = self._normalized(x, norm, moe.gate, moe.up)
        logits = self._slot("router", moe.num_local_experts)
        self._linear(h, (moe.router,), logits, add=False)
        _hidden_width(moe.gate.weight)
        self.tape.moe(
            h.index,
            logits.index,
            _matrix(moe.gate.weight).native,
            _optional(moe.gate.bias),
            _matrix(moe.up.weight).native,
            _optional(moe.up.bias),
            _matrix(moe.down.weight).native,
            _optional(moe.down.bias),
            moe.num_experts_per_tok,
            moe.routing.value,
            moe.renormalize,
            moe.activation.value,
            x.index,
        )
        return x

    def logits(self, x: Slot, norm: Norm, head: Linear) -> Slot:
        """Norm and head of the wanted rows, straight into the caller's array."""
        if head.bias is not None:
            raise UnsupportedError("logits", "the head must have no bias, but got one")
        chosen = self._slot("outputs", x.width)
        self.tape.select_outputs(x.index, chosen.index)
        scan = head.scan if isinstance(head, ScannedHead) else None
        h = source = self._head_input(chosen, norm, head)
        if scan is not None and head.rounding is not None:  # the scan's inputs stay as they are
            h = self._normalized(chosen, norm, Linear(scan), parts=2)
        self.tape.logits(h.index, _matrix(scan or head.weight).native)
        if scan is not None:
            self.tape.rescore(source.index, _matrix(head.weight).native, RESCORED)
        return h

    def _head_input(self, chosen: Slot, norm: Norm, head: Linear) -> Slot:
        """Normalized rows in 16 bits, or as the head's rounding leaves them."""
        if head.rounding is not None:  # of floats, which a slot of two parts does not keep
            return self._rounded(self._normalized(chosen, norm, head), head)
        scan = head.scan if isinstance(head, ScannedHead) else None
        scanned = [] if scan is None else [Linear(scan)]
        return self._normalized(chosen, norm, head, *scanned, parts=2)

    def _normalized(
        self, x: Slot, norm: Norm, *consumers: Linear | Experts, parts: int = 1
    ) -> Slot:
        int8 = any(_matrix(one.weight).wants_int8 for one in consumers)
        out = self._slot("normalized", x.width, parts if int8 else 0)
        bias = _optional(norm.bias)
        self.tape.norm(x.index, _vector(norm.weight), bias, norm.eps, out.index)
        return out

    def _linear(
        self, x: Slot, parts: tuple[Linear, ...], out: Slot, add: bool, column: int = 0
    ) -> None:
        """Parts whose inputs are rounded alike, one behind the other from `column` on."""
        source = self._rounded(x, *parts)
        weights = [_matrix(part.weight).native for part in parts]
        biases = [_optional(part.bias) for part in parts]
        self.tape.linear(source.index, weights, biases, out.index, add, column)

    def _rounded(self, x: Slot, *alike: Linear, role: str = "rounded") -> Slot:
        """What layers of one rounding take of a slot: itself, or its rows after a stay in 8 bits,
        as integers too where one of them has kernels for integers."""
        how = alike[0].rounding
        if how is None:
            return x
        int8 = any(_matrix(one.weight).wants_int8 for one in alike)
        out = self._slot(role, x.width, 2 if int8 else 0)
        self.tape.round_inputs(
            x.index, how.dynamic, how.symmetric, how.scale, how.zero_point, out.index
        )
        return out

    def _slot(self, role: str, width: int, int8_parts: int = 0) -> Slot:
        """Layers run one after another, so slots of one role and width are shared."""
        key = (role, width, 0 if self.exact else int8_parts)
        if key not in self._shared:
            self._shared[key] = Slot(self.tape.slot(width, key[2]), width)
        return self._shared[key]

    def _native_shape(self, shape: AttentionShape) -> _native.AttentionShape:
        if shape.head_dim % 16 or not 16 <= shape.head_dim <= 256:
            raise UnsupportedError(
                "attention",
                "head_dim must be a multiple of 16 up to 256 on the cpu backend, "
                f"but got {shape.head_dim}",
                "try --backend reference",
            )
        group, layer = self.layout.place[shape.layer]
        return _native.AttentionShape(
            shape.num_attention_heads,
            shape.num_key_value_heads,
            shape.head_dim,
            shape.window,
            group,
            layer,
            shape.scale,
        )


def _matrix(weight: Weight) -> CpuMatrix:
    assert isinstance(weight, CpuMatrix)
    return weight


def _vector(weight: Weight) -> NDArray[np.float32]:
    assert isinstance(weight, CpuVector)
    return weight.values


def _optional(weight: Weight | None) -> NDArray[np.float32] | None:
    return None if weight is None else _vector(weight)


def _hidden_width(weight: Weight) -> int:
    width = _matrix(weight).meta.shape[-2]
    if width % _BLOCK:
        raise UnsupportedError(
            weight.meta.name,
            f"intermediate_size must be a multiple of 32 on the cpu backend, but got {width}",
            "try --backend reference",
        )
    return width
