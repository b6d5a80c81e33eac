"""Owns imatrix files: llama.cpp's GGUF form, and the older one (`.dat`) that has no header.

Both are read by their first bytes and written by the name's ending. It does not know what the
numbers are used for.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.errors import FileFormatError
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_strings import StringArray
from ingle.formats.mapping import FileMap, quoted
from ingle.formats.writer import TensorSpec, write_gguf
from ingle.quantize.imatrix.table import Entry, Imatrix

_SUMS, _COUNTS = ".in_sum2", ".counts"
_LINEAGE = "ingle.imatrix.lineage"
_DAT_CHUNK = 512  # tokens: the form does not say, and llama.cpp's default is this
_MAX_ENTRIES, _MAX_NAME, _MAX_STRINGS = 1 << 20, 1 << 12, 1 << 12


def read_imatrix(path: str | Path) -> Imatrix:
    """An imatrix of either form. FileFormatError names the field that is wrong."""
    path = Path(path)
    raw = _Raw(FileMap(path))
    return _read_gguf(GgufFile.open(path)) if raw.starts_with(b"GGUF") else raw.read()


def write_imatrix(path: str | Path, imatrix: Imatrix) -> None:
    """Write a file that llama.cpp reads: the older form if the name ends in .dat, else GGUF.

    The older form keeps one count for all experts of a weight, and no lineage.
    """
    path = Path(path)
    if path.suffix == ".dat":
        aside = path.with_name(path.name + ".part")
        with aside.open("wb") as file:
            file.writelines(_dat_pieces(imatrix))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        return
    arrays: dict[str, NDArray[np.float32]] = {}
    for name in sorted(imatrix.entries):
        entry = imatrix.entries[name]
        arrays[name + _SUMS] = entry.sums.astype(np.float32)
        arrays[name + _COUNTS] = entry.counts.astype(np.float32)[:, None]
    specs = [TensorSpec(name, "F32", values.shape) for name, values in arrays.items()]
    write_gguf(path, _metadata(imatrix), specs, lambda name: arrays[name], job=_digest(arrays))


def _metadata(imatrix: Imatrix) -> dict[str, Any]:
    lineage = {_LINEAGE: list(imatrix.lineage)} if imatrix.lineage else {}
    return {
        "general.type": "imatrix",
        "imatrix.datasets": list(imatrix.datasets) or ["unknown"],
        "imatrix.chunk_count": imatrix.num_chunks,
        "imatrix.chunk_size": imatrix.chunk_tokens,
        **lineage,
    }


def _digest(arrays: Mapping[str, NDArray[np.float32]]) -> str:
    """What tells one attempt to write from another of the same header."""
    return repr([float(np.nansum(values, dtype=np.float64)) for values in arrays.values()])


def _read_gguf(file: GgufFile) -> Imatrix:
    where = str(file.path)
    if file.metadata.get("general.type") != "imatrix":
        rule = "general.type must be imatrix, but got another GGUF file"
        raise FileFormatError(where, rule, "models are not importance matrices: ingle imatrix")
    entries = {}
    for name in file.tensors:
        if not name.endswith(_SUMS):
            continue
        weight = name.removesuffix(_SUMS)
        sums, counts = _floats(file, name), _floats(file, weight + _COUNTS)
        if counts.size != len(sums):
            rule = f"there must be a count for each of {len(sums)} matrices, but got {counts.size}"
            raise FileFormatError(f"{where}: {quoted(weight)}", rule)
        entries[weight] = Entry(sums.astype(np.float64), counts.reshape(-1).astype(np.float64))
    if not entries:
        raise FileFormatError(where, "there must be an entry at least, but got none")
    return Imatrix(
        entries,
        _strings(file, "imatrix.datasets"),
        _count(file, "imatrix.chunk_count", 0),
        _count(file, "imatrix.chunk_size", 512),
        _strings(file, _LINEAGE),
    )


def _floats(file: GgufFile, name: str) -> NDArray[np.float32]:
    """(num_matrices, columns)"""
    info = file.tensors.get(name)
    if info is None or info.format != "F32" or len(info.shape) > 2:
        rule = "tensor must be there as F32 of one or two dimensions, but is not"
        raise FileFormatError(f"{file.path}: {quoted(name)}", rule)
    values = np.ascontiguousarray(file.read(name)).reshape(-1).view("<f4")
    if not np.isfinite(values).all() or (values < 0).any():
        rule = "sums and counts must be finite and not negative"
        raise FileFormatError(f"{file.path}: {quoted(name)}", f"{rule}, but got others")
    return values.reshape(-1, info.shape[-1])


def _strings(file: GgufFile, key: str) -> tuple[str, ...]:
    found = file.metadata.get(key)
    if not isinstance(found, StringArray) or len(found) > _MAX_STRINGS:
        return ()
    return tuple(str(text) for text in found)


def _count(file: GgufFile, key: str, default: int) -> int:
    found = file.metadata.get(key, default)
    return found if isinstance(found, int) and 0 <= found < 1 << 32 else default


class _Raw:
    """The older form, read from the front; every length is checked against what is left."""

    def __init__(self, file: FileMap) -> None:
        self._file = file
        self._at = 0

    def starts_with(self, magic: bytes) -> bool:
        """Whether the file begins so."""
        return bytes(self._file.bytes[: len(magic)]) == magic

    def read(self) -> Imatrix:
        """The whole file."""
        entries = {}
        for _ in range(self._integer("number of entries", 1, _MAX_ENTRIES)):
            raw = self._take("name", self._integer("length of name", 1, _MAX_NAME))
            name = bytes(raw).decode("utf-8", "backslashreplace")
            calls = self._integer(f"calls of {quoted(name)}", 0, 1 << 30)
            size = self._integer(f"values of {quoted(name)}", 1, 1 << 28)
            values = self._take(f"values of {quoted(name)}", 4 * size).view("<f4")
            if not np.isfinite(values).all() or (values < 0).any():
                self._file.fail(quoted(name), "values must be finite and not negative")
            sums = values.astype(np.float64)[None] * _DAT_CHUNK
            entries[name] = Entry(sums, np.array([max(calls, 1) * _DAT_CHUNK], np.float64))
        chunks, dataset = 0, ""
        if self._at + 8 <= self._file.size:  # the tail may be missing
            chunks = self._integer("last chunk", -(1 << 31), 1 << 31)
            length = self._integer("length of dataset", 0, 1 << 16)
            text = self._take("dataset", min(length, self._file.size - self._at))
            dataset = bytes(text).decode("utf-8", "replace")
        return Imatrix(entries, (dataset,) if dataset else (), max(chunks, 0), _DAT_CHUNK)

    def _integer(self, field: str, low: int, high: int) -> int:
        (value,) = struct.unpack("<i", bytes(self._take(field, 4)))
        if not low <= value <= high:
            self._file.fail(field, f"it must be from {low} to {high}, but got {value}")
        return int(value)

    def _take(self, field: str, nbytes: int) -> NDArray[np.uint8]:
        if self._at + nbytes > self._file.size:
            left = self._file.size - self._at
            self._file.fail(
                field,
                f"it needs {nbytes} bytes, but got {left}",
                "the file is cut, or is no imatrix",
            )
        part = self._file.slice(self._at, nbytes)
        self._at += nbytes
        return np.ascontiguousarray(part)


def _dat_pieces(imatrix: Imatrix) -> Iterator[bytes]:
    seen = {name: entry for name, entry in imatrix.entries.items() if entry.counts.any()}
    yield struct.pack("<i", len(seen))
    for name in sorted(seen):
        entry = seen[name]
        calls = max(1, math.ceil(float(entry.counts.max()) / max(imatrix.chunk_tokens, 1)))
        values = (entry.importance * np.float32(calls)).reshape(-1).astype("<f4")
        raw = name.encode()
        yield struct.pack("<i", len(raw)) + raw + struct.pack("<2i", calls, len(values))
        yield values.tobytes()
    dataset = (imatrix.datasets[-1] if imatrix.datasets else "").encode()
    yield struct.pack("<2i", imatrix.num_chunks, len(dataset)) + dataset
