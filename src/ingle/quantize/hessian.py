"""Owns what error-compensated rounding has to know of a layer: X^T X of every matrix's inputs.

A text flows through the model layer by layer, all of it through one layer before the next, so that
the memory is that of one layer's matrices and of the activations between two layers. It does not
know what is made of the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.backends.reference import ReferenceBackend
from ingle.backends.reference.arithmetic import ReferenceWeight
from ingle.backends.reference.forward import ReferenceOps
from ingle.errors import IngleError
from ingle.formats import GgufFile
from ingle.models import load_model
from ingle.numerics import Format
from ingle.ops import Batch, KvLayout, Linear
from ingle.ops.capture import Capture
from ingle.quantize.encode import decode_rows
from ingle.runtime.kv import KvPool, KvSequence

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

HEAD = "output.weight"  # the name under which the sums of the last matrix are kept


class Sums:
    """Hessians by weight's name: a float32 (columns, columns) per matrix, and rows seen."""

    def __init__(self) -> None:
        self.hessians: dict[str, list[Floats]] = {}
        self.counts: dict[str, NDArray[np.int64]] = {}
        self._shared: dict[str, str] = {}
        self._last: tuple[str, Floats, Any] | None = None
        self.num_experts: dict[str, int] = {}

    def report(self, name: str, x: Floats, experts: NDArray[np.intp] | None) -> None:
        """Adds the rows of x; weights that are given one array share one sum."""
        if self._last is not None:
            first, seen, chosen = self._last
            if seen is x and _same(chosen, experts) and first != name:
                self._shared[name] = first
                return
        self._last = (name, x, experts)
        if experts is None:
            self._add(name, 0, 1, x)
            return
        for expert in np.unique(experts):
            self._add(name, int(expert), self.num_experts[name], x[experts == expert])

    def of(self, name: str, matrix: int) -> tuple[Floats, int]:
        """X^T X (columns, columns) of one matrix, and the rows that it is of; weights that share
        their input are given one array."""
        first = self._shared.get(name, name)
        return self.hessians[first][matrix], int(self.counts[first][matrix])

    def __contains__(self, name: str) -> bool:
        return self._shared.get(name, name) in self.hessians

    def _add(self, name: str, matrix: int, matrices: int, x: Floats) -> None:
        if name not in self.hessians:
            width = x.shape[1]
            self.hessians[name] = [np.zeros((width, width), np.float32) for _ in range(matrices)]
            self.counts[name] = np.zeros(matrices, np.int64)
        self.hessians[name][matrix] += x.T @ x
        self.counts[name][matrix] += len(x)


def _same(a: NDArray[np.intp] | None, b: NDArray[np.intp] | None) -> bool:
    return (a is None and b is None) or (
        a is not None and b is not None and bool(np.array_equal(a, b))
    )


class _Weights(ReferenceBackend):
    """Handles that decode natively, and let go of what they decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, _Weight] = {}

    def matrix(self, name: str, fmt: Format, data: Bytes) -> ReferenceWeight:
        """A handle that is also found by its name."""
        weight = _Weight(name, fmt, data, fmt.columns(data.shape[-1]))
        self.made[name] = weight
        return weight


class _Weight(ReferenceWeight):
    """Decodes natively; `drop` frees the floats."""

    @property
    def values(self) -> Floats:
        """float32 of the tensor's shape."""
        found = self.__dict__.get("_decoded")
        if found is None:
            rows = np.ascontiguousarray(self.data.reshape(-1, self.data.shape[-1]))
            found = decode_rows(self.format.name, rows).reshape(self.meta.shape)
            self.__dict__["_decoded"] = found
        result: Floats = found
        return result

    def expert(self, index: int) -> ReferenceWeight:
        """One matrix of a stack."""
        if index not in self._experts:
            name, columns = f"{self.meta.name}[{index}]", self.meta.shape[-1]
            self._experts[index] = _Weight(name, self.format, self.data[index], columns)
        return self._experts[index]

    def drop(self) -> None:
        """Forget the floats."""
        self.__dict__.pop("_decoded", None)
        self._experts.clear()


class _Last(Capture[Any]):
    """Reports what goes into the output matrix and does not multiply."""

    def linear(self, x: Floats, linear: Linear, precise: bool = False) -> Floats:
        """No logits."""
        self.report(HEAD, x, None)
        return np.zeros((len(x), 0), np.float32)


class LayerStream:
    """Windows of text on their way through a model's layers, with every layer's sums.

    windows: ids. Ask for layers in ascending order.
    """

    def __init__(self, container: GgufFile, windows: Sequence[Sequence[int]]) -> None:
        if not windows:
            raise IngleError("calibration", "text must fill a window, but got none")
        self.windows = windows
        self._container = container
        self._backend = _Weights()
        context = max(map(len, windows))
        self._model = load_model(container, self._backend, context)
        self._layout = KvLayout(self._model.attention_shapes)
        self._pool = KvPool(self._layout, context, context, kv_type="f32")
        self._sequence = KvSequence(self._pool)
        self._rows = [self._model.embed(self._ops(window)) for window in windows]
        self._sums = Sums()
        self._at = -1

    @property
    def num_layers(self) -> int:
        """Layers of the model; the output matrix comes after them."""
        return self._model.num_hidden_layers

    def layer(self, index: int) -> Sums:
        """Sums of a layer's matrices; `num_layers` asks for those of the output matrix."""
        if index < self._at:
            raise IngleError("calibration", f"layers must ascend, but got {index} after {self._at}")
        while self._at < index:
            self._advance()
        return self._sums

    def _advance(self) -> None:
        self._at += 1
        self._sums = sums = Sums()
        for weight in self._backend.made.values():
            if len(weight.meta.shape) == 3:
                sums.num_experts[weight.meta.name] = weight.meta.shape[0]
        for number, window in enumerate(self.windows):
            inner, x = self._ops(window), self._rows[number]
            if self._at == self.num_layers:
                self._model.head(_Last(inner, sums.report), x)
            else:
                self._rows[number] = self._model.layer(Capture(inner, sums.report), self._at, x)
        for weight in self._backend.made.values():
            weight.drop()
        self._container.release()

    def _ops(self, window: Sequence[int]) -> ReferenceOps:
        batch = Batch.chunk(window, 0, self._pool, self._sequence, range(len(window)))
        return ReferenceOps(batch, self._layout, self._backend.arithmetic)
