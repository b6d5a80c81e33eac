"""Owns measuring what the native backend would allocate, by letting it record into a tape of sizes.

The backend's own `Recorder` runs; only the tape beneath it keeps numbers instead of memory. It does
not know what is computed, nor how long anything takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ingle import _native
from ingle.backends.cpu.backend import MAX_ROWS
from ingle.backends.cpu.cores import usable_cores
from ingle.backends.cpu.recorder import Recorder
from ingle.backends.cpu.weight import FLOAT_FORMATS, INT8_FORMATS, CpuMatrix, CpuVector
from ingle.numerics import FORMATS, Format
from ingle.numerics.int8_blocks import INT8
from ingle.numerics.tiles import num_tiles, tile_bytes
from ingle.ops import KvLayout, Model, WeightMeta
from ingle.ops.count import CountingBackend
from ingle.ops.protocol import SCANNED_ROWS, run_model

_ALIGNMENT = 64  # bytes, of tiles and of scratch
_BLOCK = 32  # 8-bit activations that share a scale
_NO_FLOATS = np.empty(0, np.float32)


@dataclass(frozen=True)
class _Tiles:
    """Where tiles would lie."""

    place: tuple[int, int] | None


class TileBackend(CountingBackend):
    """Handles as the native backend makes them, with its bytes and without its memory.

    mapped: of a packed file, whose tables are read from the file row by row.
    """

    def __init__(self, mapped: bool = False) -> None:
        super().__init__()
        self._tiles = _Tiles((-1, 0) if mapped else None)

    def matrix(self, name: str, fmt: Format, data: NDArray[np.uint8]) -> CpuMatrix:  # type: ignore[override]
        """The facts of a matrix or stack in the kernel layout; `data` is not read."""
        *stacked, rows, row_bytes = data.shape
        columns = fmt.columns(row_bytes)
        native = fmt if fmt.name in INT8_FORMATS | FLOAT_FORMATS else FORMATS["F32"]
        scale_bytes = 0
        int8 = fmt is INT8 and data.ndim == 2
        if int8:  # in the tiles of Q8_0, and a scale per row beside them
            native, scale_bytes = FORMATS["Q8_0"], 4 * 16 * num_tiles(rows)
        stride = -(-tile_bytes(native, columns) // _ALIGNMENT) * _ALIGNMENT
        nbytes = int(np.prod(stacked, dtype=np.int64)) * num_tiles(rows) * stride + scale_bytes
        kept = fmt if int8 else native
        meta = WeightMeta(name, kept.name, (*stacked, rows, columns), nbytes)
        return CpuMatrix(meta, cast(Any, meta), cast(Any, self._tiles))

    def vector(self, name: str, values: NDArray[np.float32]) -> CpuVector:  # type: ignore[override]
        """The facts of a vector."""
        return CpuVector(WeightMeta(name, "F32", values.shape, values.nbytes), _NO_FLOATS)


class _TapeOfSizes:
    """What `_native.Tape` allocates, step by step; steps that allocate nothing are any others."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.scratch_bytes = 0
        self._slots: list[tuple[int, int]] = []
        self._slot_bytes: list[int] = []
        self._of_outputs: set[int] = set()
        self._of_all: set[int] = set()
        self._spans: set[int] = set()
        self._shared: set[tuple[str, int, int, int, bool]] = set()

    def slot(self, width: int, int8_parts: int, ranks: int = 1, floats: bool = True) -> int:
        """Floats in rows of whole tiles, and 8-bit blocks with three numbers each beside them."""
        stride, before = -(-width // 16) * 16, self.scratch_bytes
        if floats:
            self._scratch(self.max_rows * ranks * stride * 4)
        if int8_parts:
            rows = self.max_rows * ranks * int8_parts
            self._scratch(rows * width)
            for _ in range(3):
                self._scratch(rows * width // _BLOCK * 4)
        self._slots.append((width, int8_parts))
        self._slot_bytes.append(self.scratch_bytes - before)
        return len(self._slots) - 1

    def embed(
        self,
        table: WeightMeta,
        positions: WeightMeta | None,
        out: int,
        table_at: tuple[int, int] | None = None,
        positions_at: tuple[int, int] | None = None,
    ) -> None:
        """Room for the rows of learned positions, and for a tile of a file for each thread."""
        if positions is not None:
            self._share("places", self._slots[out][0], 0, 1)
        for matrix, place in ((table, table_at), (positions, positions_at)):
            if matrix is not None and place is not None:
                stride = matrix.nbytes // num_tiles(matrix.shape[0])
                self._scratch(usable_cores() * stride)

    def select_outputs(self, source: int, out: int) -> None:
        """Rows of which logits are wanted."""
        self._of_outputs.add(out)

    def norm(self, source: int, weight: Any, bias: Any, eps: float, out: int) -> None:
        """The last one is of those rows too."""
        self._pass_on(source, out)

    def round_inputs(
        self, source: int, dynamic: bool, symmetric: bool, scale: float, zero: float, out: int
    ) -> None:
        """What it makes of them is of those rows as well."""
        self._pass_on(source, out)

    def moe(
        self, source: int, router: int, gate: WeightMeta, gate_bias: Any, up: WeightMeta, *rest: Any
    ) -> None:
        """Room for each chosen expert's input, hidden state and output; what is multiplied as
        integers is gathered as such."""
        *_, num_experts_per_tok, _, _, _, residual = rest
        width, int8_parts = self._slots[source]
        parts = 1 if int8_parts else 0
        floats = not parts or bool({gate.format, up.format} & FLOAT_FORMATS)
        for role, columns, count, whole in (
            ("gathered", width, parts, floats),
            ("inner", gate.shape[-2], parts, True),
            ("expert_out", self._slots[residual][0], 0, True),
        ):
            self._share(role, columns, count, num_experts_per_tok, whole)

    def attend(self, qkv: int, shape: _native.AttentionShape, sinks: Any, out: int) -> None:
        """Room for the spans of one row's context, shared by layers alike."""
        size = _native.span_bytes(shape.num_heads, shape.head_dim)
        if not shape.window and size not in self._spans:
            self._spans.add(size)
            self._scratch(size)

    def rescore(self, source: int, weight: WeightMeta, count: int) -> None:
        """Room for the runs of rows that are chosen, and for one thread's choosing."""
        runs = -(-weight.shape[0] // SCANNED_ROWS)
        self._scratch(self.max_rows * min(count, runs) * 4)

    @property
    def output_bytes(self) -> int:
        """Of the scratch, what only rows whose logits are wanted fill."""
        return sum(self._slot_bytes[slot] for slot in self._of_outputs - self._of_all)

    @property
    def span_bytes(self) -> int:
        """Of the scratch, what only long contexts fill."""
        return sum(self._spans)

    def _pass_on(self, source: int, out: int) -> None:
        """A slot that layers fill too is not one of those rows alone."""
        (self._of_outputs if source in self._of_outputs else self._of_all).add(out)

    def _share(
        self, role: str, width: int, int8_parts: int, ranks: int, floats: bool = True
    ) -> None:
        key = (role, width, int8_parts, ranks, floats)
        if key not in self._shared:
            self._shared.add(key)
            self.slot(width, int8_parts, ranks, floats)

    def _scratch(self, nbytes: int) -> None:
        self.scratch_bytes += nbytes + _ALIGNMENT

    def __getattr__(self, step: str) -> Any:
        if not hasattr(_native.Tape, step):
            raise AttributeError(step)
        return lambda *arguments: None


def scratch_bytes(model: Model, max_rows: int = MAX_ROWS) -> int:
    """Bytes of activations that a tape of this model takes; `model` is of a `TileBackend`."""
    return _recorded(model, max_rows).scratch_bytes


def idle_bytes(model: Model, max_rows: int = MAX_ROWS) -> int:
    """Of them, those that steps which want one row's logits, in a short context, do not touch."""
    tape = _recorded(model, max_rows)
    return tape.output_bytes * (max_rows - 1) // max_rows + tape.span_bytes


def _recorded(model: Model, max_rows: int) -> _TapeOfSizes:
    tape = _TapeOfSizes(max_rows)
    run_model(model, Recorder(cast(_native.Tape, tape), KvLayout(model.attention_shapes)))
    return tape
