"""Owns reference logits kept in a file: what a model said at every scored position of a text.

Two forms. Ingle's own is a safetensors file of the most likely ids of each position and a sample of
the rest (2 kB at 128 ids of each); llama.cpp's (`llama-perplexity
--kl-divergence-base`) keeps 16 bits of every id's log-probability. Both are read and written.
It does not know models.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ingle.errors import FileFormatError, IngleError
from ingle.evaluate.divergence import Distributions, Ids, Softmax, SteppedRows, TopRows
from ingle.evaluate.window import MIN_CONTEXT, Windows
from ingle.formats.mapping import FileMap
from ingle.formats.safetensors import SafetensorsFile
from ingle.formats.writer import TensorSpec, write_safetensors

MAGIC = b"_logits_"
_KIND = "ingle reference logits"
_FIELDS = {
    "top_ids": "ids",
    "top_logs": "logs",
    "sample_ids": "sample_ids",
    "sample_logs": "sample_logs",
    "next_logs": "next_logs",
}
_SHAPES = {"ids": "I32"} | {name: "U32" if "ids" in name else "F32" for name in _FIELDS}
_NUMBERS = {"I32": "<i4", "U32": "<u4", "F32": "<f4"}
_MOST_WINDOWS, _MOST_CONTEXT, _MOST_VOCABULARY = 1 << 20, 1 << 24, 1 << 24


class SavedLogits(Protocol):
    """A file of reference logits, opened. windows: the text they were made on."""

    vocab_size: int
    windows: Windows

    def rows(self, window: int, positions: range) -> Distributions:
        """Those after `positions`, which lie within the scored ones."""


class LogitsWriter(Protocol):
    """Takes rows in the order of the text; the file appears when it is left without an error."""

    def add(self, logits: Softmax, next_ids: Ids) -> None:
        """The next rows."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_logits(path: Path) -> SavedLogits:
    """A file of either form, by its first bytes. FileFormatError names what is wrong."""
    if bytes(FileMap(path).bytes[: len(MAGIC)]) == MAGIC:
        return LlamaCppLogits(path)
    return TopLogits(path)


def is_saved_logits(path: Path) -> bool:
    """Whether the file holds logits and not a model."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            return True
    if path.suffix != ".safetensors":
        return False
    return SafetensorsFile.open(path).metadata.get("kind") == _KIND


class TopLogits:
    """Ingle's own form: tensors ids (windows, context), next_logs (rows,), and top_ids,
    top_logs, sample_ids, sample_logs (rows, kept)."""

    def __init__(self, path: Path) -> None:
        file = SafetensorsFile.open(path)
        where = str(path)
        if file.metadata.get("kind") != _KIND:
            rule = f"metadata must say {_KIND!r}, but got another file"
            raise FileFormatError(where, rule, "write one with: ingle eval --save-logits")
        for name, dtype in _SHAPES.items():
            if name not in file.tensors or file.tensors[name].format != dtype:
                raise FileFormatError(where, f"tensor {name} must be there as {dtype}, but is not")
        stated = file.metadata.get("vocab_size", "")
        self.vocab_size = int(stated) if stated.isdecimal() and len(stated) < 9 else 0
        ids = _cells(file, "ids")
        if ids.ndim != 2 or not MIN_CONTEXT <= ids.shape[1] <= _MOST_CONTEXT or not len(ids):
            raise FileFormatError(where, f"ids must be (windows, context), but got {ids.shape}")
        self.windows = Windows(tuple(tuple(map(int, row)) for row in ids), ids.shape[1])
        self._rows = [_cells(file, name) for name in _FIELDS]
        rows = self.windows.num_scored
        kept = self._rows[0].shape[-1] if self._rows[0].ndim == 2 else 0
        shapes = [cells.shape for cells in self._rows]
        if not kept or shapes != [(rows, kept)] * 4 + [(rows,)]:
            raise FileFormatError(where, f"rows must be {rows} of each, but got {shapes}")
        for cells in (ids, self._rows[0], self._rows[2]):
            _check_ids(where, cells, self.vocab_size)

    def rows(self, window: int, positions: range) -> TopRows:
        """See `SavedLogits`."""
        part = _row_slice(self.windows, window, positions)
        return TopRows(*(cells[part] for cells in self._rows))


class LlamaCppLogits:
    """llama.cpp's form: magic, i32 context, vocabulary, windows, ids; then for each row f32 step,
    f32 lowest, u16 codes, padded to an even number of them."""

    def __init__(self, path: Path) -> None:
        self._file = FileMap(path)
        header = bytes(self._file.bytes[: len(MAGIC) + 12])
        if len(header) < len(MAGIC) + 12 or header[: len(MAGIC)] != MAGIC:
            self._file.fail("header", "it must begin with _logits_ and three sizes")
        context, self.vocab_size, windows = struct.unpack("<3i", header[len(MAGIC) :])
        for name, value, low, high in (
            ("context", context, MIN_CONTEXT, _MOST_CONTEXT),
            ("vocabulary", self.vocab_size, 1, _MOST_VOCABULARY),
            ("windows", windows, 1, _MOST_WINDOWS),
        ):
            if not low <= value <= high:
                self._file.fail(name, f"size must be from {low} to {high}, but got {value}")
        scored = context - 1 - context // 2
        self._start = len(header) + 4 * context * windows
        self._row_bytes = stepped_row_bytes(self.vocab_size)
        expected = self._start + windows * scored * self._row_bytes
        if self._file.size < expected:
            self._file.fail("", f"file must have {expected} bytes, but got {self._file.size}")
        ids = self._file.array(np.dtype("<i4"), len(header), windows * context)
        ids = ids.reshape(windows, context)
        _check_ids(self._file.where("ids"), ids, self.vocab_size)
        self.windows = Windows(tuple(tuple(map(int, row)) for row in ids), context)

    def rows(self, window: int, positions: range) -> SteppedRows:
        """See `SavedLogits`."""
        part = _row_slice(self.windows, window, positions)
        size = (part.stop - part.start) * self._row_bytes
        raw = self._file.slice(self._start + part.start * self._row_bytes, size)
        rows = np.ascontiguousarray(raw.reshape(-1, self._row_bytes))
        floats = rows[:, :8].copy().view("<f4")
        codes = rows[:, 8:].copy().view("<u2")[:, : self.vocab_size]
        return SteppedRows(codes, floats[:, 0], floats[:, 1])


class TopLogitsWriter:
    """Writes ingle's own form; rows stay in memory until the end."""

    def __init__(self, path: Path, windows: Windows, vocab_size: int, kept: int) -> None:
        if kept < 1:
            raise IngleError("kept ids", f"count must be 1 or more, but got {kept}")
        self._path, self._windows, self._vocab_size = path, windows, vocab_size
        self._kept = min(kept, vocab_size)
        self._rows: list[TopRows] = []

    def add(self, logits: Softmax, next_ids: Ids) -> None:
        """See `LogitsWriter`."""
        self._rows.append(TopRows.of(logits, next_ids, self._kept))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._write()

    def _write(self) -> None:
        rows, context = self._windows.num_scored, self._windows.context_tokens
        shapes: dict[str, tuple[int, ...]] = {
            "ids": (len(self._windows.ids), context),
            **{name: (rows, self._kept) for name in _FIELDS if name != "next_logs"},
            "next_logs": (rows,),
        }
        specs = [TensorSpec(name, _SHAPES[name], shape) for name, shape in shapes.items()]
        metadata = {"kind": _KIND, "vocab_size": str(self._vocab_size)}
        write_safetensors(self._path, metadata, specs, self._pieces)

    def _pieces(self, name: str) -> Iterator[NDArray[np.uint8]]:
        if name == "ids":
            yield np.asarray(self._windows.ids, "<i4").view(np.uint8)
            return
        for rows in self._rows:
            values = getattr(rows, _FIELDS[name])
            yield np.ascontiguousarray(values, _NUMBERS[_SHAPES[name]]).reshape(-1).view(np.uint8)


class LlamaCppLogitsWriter:
    """Writes llama.cpp's form as rows come, beside its name until all are there."""

    def __init__(self, path: Path, windows: Windows, vocab_size: int) -> None:
        self._path, self._aside = path, path.with_name(path.name + ".part")
        self._file = self._aside.open("wb")
        sizes = (windows.context_tokens, vocab_size, len(windows.ids))
        self._file.write(MAGIC + struct.pack("<3i", *sizes))
        self._file.write(np.asarray(windows.ids, "<i4").tobytes())
        self._row_bytes = stepped_row_bytes(vocab_size)

    def add(self, logits: Softmax, next_ids: Ids) -> None:
        """See `LogitsWriter`."""
        rows = SteppedRows.of(logits)
        out = np.zeros((len(rows.codes), self._row_bytes), np.uint8)
        head = np.stack([rows.scale, rows.lowest], axis=1).astype("<f4")
        out[:, :8] = head.view(np.uint8)
        codes = np.ascontiguousarray(rows.codes, "<u2").view(np.uint8)
        out[:, 8 : 8 + codes.shape[1]] = codes
        self._file.write(out.tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        if kind is None:
            self._aside.replace(self._path)
        else:
            self._aside.unlink(missing_ok=True)


def stepped_row_bytes(vocab_size: int) -> int:
    """Bytes of one row in llama.cpp's form."""
    return 8 + 4 * ((vocab_size + 1) // 2)


def _row_slice(windows: Windows, window: int, positions: range) -> slice:
    start = window * len(windows.scored) + positions.start - windows.scored.start
    return slice(start, start + len(positions))


def _cells(file: SafetensorsFile, name: str) -> NDArray[Any]:
    info = file.tensors[name]
    data = np.ascontiguousarray(file.read(name)).reshape(-1).view(_NUMBERS[info.format])
    return data.reshape(info.shape)


def _check_ids(where: str, ids: NDArray[Any], vocab_size: int) -> None:
    """FileFormatError unless every id lies in the vocabulary."""
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    if low < 0 or high >= vocab_size:
        rule = f"ids must be from 0 to {vocab_size - 1}, but got {low if low < 0 else high}"
        raise FileFormatError(where, rule)
