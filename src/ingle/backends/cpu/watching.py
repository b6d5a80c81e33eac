"""Owns watching a forward pass of the native backend: sums of squares of what enters each matrix.

The watched tape computes what the plain one does and nothing for the logits. Weights have the names
that GGUF gives them. It does not know texts or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingle import _native
from ingle.backends.cpu.backend import MAX_ROWS, CpuBackend
from ingle.backends.cpu.recorder import Recorder, Slot
from ingle.backends.cpu.weight import CpuVector
from ingle.ops import Activation, Experts, KvLayout, Linear, Model, Moe, Norm, Weight
from ingle.ops.protocol import run_model


@dataclass(frozen=True, eq=False)
class InputSquares:
    """Of one weight: sums of squares float64 (num_matrices, columns), rows seen int64
    (num_matrices,). Weights that share an input share the arrays."""

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, num_matrices: int, columns: int) -> InputSquares:
        """Nothing seen yet."""
        return cls(np.zeros((num_matrices, columns)), np.zeros(num_matrices, np.int64))


class WatchingBackend(CpuBackend):
    """The native backend, summing into `squares` what enters every matrix of the one model it runs.

    outputs: watch the output matrix too; the rows whose logits are asked for count.
    """

    def __init__(
        self, threads: int | None = None, exact: bool = False, outputs: bool = False
    ) -> None:
        super().__init__(threads, exact)
        self.squares: dict[str, InputSquares] = {}
        self.outputs = outputs

    def prepare(self, model: Model) -> None:
        """Fill `squares` with the names of a model's weights; nothing is seen yet."""
        self._tape(model)

    def _tape(self, model: Model) -> tuple[_native.Tape, KvLayout]:
        if model not in self._tapes:
            layout = KvLayout(model.attention_shapes)
            tape = _native.Tape(self.pool, self.kernels, MAX_ROWS)
            run_model(model, WatchingRecorder(tape, layout, self.exact, self.squares, self.outputs))
            self._tapes[model] = tape, layout
        return self._tapes[model]


class WatchingRecorder(Recorder):
    """Records each composite and, behind it, steps that watch its inputs."""

    def __init__(
        self,
        tape: _native.Tape,
        layout: KvLayout,
        exact: bool,
        squares: dict[str, InputSquares],
        outputs: bool,
    ) -> None:
        super().__init__(tape, layout, exact)
        self._squares = squares
        self._outputs = outputs
        self._index = -1  # of the layer being recorded
        self._entered: Slot | None = None  # the last normalized slot

    def qkv(self, x: Slot, norm: Norm, q: Linear, k: Linear, v: Linear) -> tuple[Slot, Slot, Slot]:
        """Watches the normalized input."""
        self._index += 1
        made = super().qkv(x, norm, q, k, v)
        named = {"attn_q": q.weight, "attn_k": k.weight, "attn_v": v.weight}
        self._watch(self._last_normalized(), named)
        return made

    def attention_out(self, x: Slot, attended: Slot, out: Linear) -> Slot:
        """Watches the attended heads."""
        made = super().attention_out(x, attended, out)
        self._watch(attended, {"attn_output": out.weight})
        return made

    def mlp(
        self,
        x: Slot,
        norm: Norm,
        gate: Linear | None,
        up: Linear,
        down: Linear,
        activation: Activation = Activation.SILU,
    ) -> Slot:
        """Watches the normalized input and the hidden rows."""
        made = super().mlp(x, norm, gate, up, down, activation)
        entering = {"ffn_up": up.weight} | ({} if gate is None else {"ffn_gate": gate.weight})
        self._watch(self._last_normalized(), entering)
        hidden = self._slot("hidden", down.weight.meta.shape[-1], 1)
        self._watch(hidden, {"ffn_down": down.weight})
        return made

    def moe(self, x: Slot, norm: Norm, moe: Moe) -> Slot:
        """Watches per expert; the router sees every row."""
        made = super().moe(x, norm, moe)
        entered = self._last_normalized()
        self._watch(entered, {"ffn_gate_inp": moe.router.weight})
        hidden = moe.down.weight.meta.shape[-1]
        into = InputSquares.of(moe.num_local_experts, entered.width)
        down = InputSquares(np.zeros((moe.num_local_experts, hidden)), into.counts)
        self.tape.watch_experts(entered.index, into.sums, down.sums, into.counts)
        stacks = {"ffn_gate_exps": moe.gate, "ffn_up_exps": moe.up}
        for role, experts in stacks.items():
            self._squares[self._name(role, experts.weight)] = into
        self._squares[self._name("ffn_down_exps", moe.down.weight)] = down
        return made

    def logits(self, x: Slot, norm: Norm, head: Linear) -> Slot:
        """No logits; the head's input as floats, where it is to be watched."""
        if not self._outputs:
            return x
        chosen, entered = self._slot("outputs", x.width), self._slot("head input", x.width)
        self.tape.select_outputs(x.index, chosen.index)
        bias = None if norm.bias is None else _values(norm.bias)
        weight = _values(norm.weight)
        self.tape.norm(chosen.index, weight, bias, norm.eps, entered.index)
        self._watch(entered, {}, head.weight.meta.name)
        return entered

    def _normalized(
        self, x: Slot, norm: Norm, *consumers: Linear | Experts, parts: int = 1
    ) -> Slot:
        self._entered = super()._normalized(x, norm, *consumers, parts=parts)
        return self._entered

    def _last_normalized(self) -> Slot:
        assert self._entered is not None
        return self._entered

    def _watch(self, slot: Slot, weights: dict[str, Weight], *names: str) -> None:
        """Weights by their role in this layer, and others by name; they share what is summed."""
        squares = InputSquares.of(1, slot.width)
        self.tape.watch(slot.index, squares.sums, squares.counts)
        for name in (*names, *(self._name(role, weight) for role, weight in weights.items())):
            self._squares[name] = squares

    def _name(self, role: str, weight: Weight) -> str:
        """The file's own name where it is a GGUF's; a part of a fused weight has the whole's."""
        stored = weight.meta.name.partition("[")[0]
        return stored if stored.startswith("blk.") else f"blk.{self._index}.{role}.weight"


def _values(weight: Weight) -> NDArray[np.float32]:
    assert isinstance(weight, CpuVector)
    return weight.values
