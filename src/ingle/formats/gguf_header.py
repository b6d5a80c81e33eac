"""Owns parsing of a GGUF header: counts, metadata and tensor entries, every field checked.

Counts, lengths and offsets are compared with what is left of the file before anything is
allocated. It knows one file only; split models are `gguf.py`'s. Versions 2 and 3, little endian
(ggml/docs/gguf.md).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ingle.errors import UnsupportedError
from ingle.formats.container import TensorInfo
from ingle.formats.ggml_types import block_type
from ingle.formats.gguf_strings import MAX_STRINGS, locate_strings
from ingle.formats.mapping import FileMap, quoted

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 1 << 26
MAX_DIMS = 4
MAX_TENSORS = 1 << 18
MAX_VALUES = 1 << 16
MAX_NAME_BYTES = 1 << 16
MAX_TEXT_BYTES = 1 << 24
MAX_DEPTH = 4
MAX_NESTED_ARRAYS = 1 << 14

SCALARS: dict[int, np.dtype[Any]] = {
    0: np.dtype("u1"),
    1: np.dtype("i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    7: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
BOOL, STRING, ARRAY = 7, 8, 9
_KV_MIN_BYTES = 8 + 4 + 1
_TENSOR_MIN_BYTES = 8 + 4 + 4 + 8
_ARRAY_MIN_BYTES = 4 + 8


@dataclass
class GgufHeader:
    """What one GGUF file says about itself. `types` are the value type ids of the metadata."""

    version: int
    metadata: dict[str, Any] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    alignment: int = DEFAULT_ALIGNMENT


def parse_header(file: FileMap) -> GgufHeader:
    """Read and check the header of one file. Raises FileFormatError or UnsupportedError."""
    cursor = _Cursor(file)
    version = _version(cursor)
    num_tensors = cursor.count("tensor count", _TENSOR_MIN_BYTES, MAX_TENSORS)
    num_values = cursor.count("metadata count", _KV_MIN_BYTES, MAX_VALUES)
    header = GgufHeader(version)
    for index in range(num_values):
        _read_entry(cursor, header, index)
    header.alignment = _alignment(file, header)
    entries = [_read_tensor(cursor, header, index) for index in range(num_tensors)]
    data_start = -(-cursor.position // header.alignment) * header.alignment
    header.tensors = _place(file, entries, header.alignment, data_start)
    return header


class _Cursor:
    """A position in the header that never reads past the end of the file."""

    def __init__(self, file: FileMap) -> None:
        self.file = file
        self.position = 0
        self.nested_arrays = 0

    @property
    def left(self) -> int:
        return self.file.size - self.position

    def take(self, nbytes: int, where: str) -> int:
        """Step over `nbytes` and return where they start."""
        if nbytes > self.left:
            self.file.fail(
                where,
                f"field must end inside the file, but got {nbytes} bytes with {self.left} left",
            )
        start = self.position
        self.position += nbytes
        return start

    def u32(self, where: str) -> int:
        return int(struct.unpack_from("<I", self.file.buffer, self.take(4, where))[0])

    def u64(self, where: str) -> int:
        return int(struct.unpack_from("<Q", self.file.buffer, self.take(8, where))[0])

    def count(self, where: str, item_bytes: int, limit: int) -> int:
        """A u64 count of items of at least `item_bytes` each, which must fit what is left."""
        count = self.u64(where)
        if count > min(limit, self.left // item_bytes):
            self.file.fail(where, f"count must fit in the file, but got {count}")
        return count

    def text(self, where: str, limit: int) -> str:
        length = self.u64(where)
        if length > limit:
            self.file.fail(where, f"string must have at most {limit} bytes, but got {length}")
        raw = bytes(self.file.slice(self.take(length, where), length))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.file.fail(where, f"string must be UTF-8, but got {quoted(raw)}")


def _version(cursor: _Cursor) -> int:
    file = cursor.file
    if bytes(file.slice(0, 4)) != MAGIC:
        file.fail(
            "magic", f"file must start with 'GGUF', but got {quoted(bytes(file.slice(0, 4)))}"
        )
    cursor.take(4, "magic")
    version = cursor.u32("version")
    if version in (2, 3):
        return version
    if version & 0xFFFF == 0 and version:
        raise UnsupportedError(file.where("version"), "file must be little endian, but got big")
    if version == 1:
        raise UnsupportedError(
            file.where("version"), "GGUF version must be 2 or 3, but got 1", "convert it again"
        )
    file.fail("version", f"GGUF version must be 2 or 3, but got {version}")


def _read_entry(cursor: _Cursor, header: GgufHeader, index: int) -> None:
    key = cursor.text(f"metadata key {index}", MAX_NAME_BYTES)
    if not key or key in header.metadata:
        cursor.file.fail(f"metadata key {index}", f"key must be unique, but got {quoted(key)}")
    where = f"metadata {quoted(key)}"
    header.types[key] = cursor.u32(where)
    header.metadata[key] = _read_value(cursor, header.types[key], where, depth=0)


def _read_value(cursor: _Cursor, type_id: int, where: str, depth: int) -> Any:
    if type_id == STRING:
        return cursor.text(where, MAX_TEXT_BYTES)
    if type_id == ARRAY:
        return _read_array(cursor, where, depth)
    dtype = SCALARS.get(type_id)
    if dtype is None:
        cursor.file.fail(where, f"value type must be 0 to 12, but got {type_id}")
    start = cursor.take(dtype.itemsize, where)
    if type_id == BOOL:
        _check_bools(cursor.file, start, 1, where)
    return cursor.file.array(dtype, start, 1)[0].item()


def _read_array(cursor: _Cursor, where: str, depth: int) -> Any:
    """Numeric arrays are views, string arrays stay in the map, arrays of arrays become tuples."""
    file, type_id = cursor.file, cursor.u32(where)
    if type_id == STRING:
        count = cursor.count(where, 8, MAX_STRINGS)
        strings, cursor.position = locate_strings(file, where, cursor.position, count)
        return strings
    if type_id == ARRAY:
        return _read_nested(cursor, where, depth)
    dtype = SCALARS.get(type_id)
    if dtype is None:
        file.fail(where, f"array element type must be 0 to 12, but got {type_id}")
    count = cursor.count(where, dtype.itemsize, file.size)
    start = cursor.take(count * dtype.itemsize, where)
    if type_id == BOOL:
        _check_bools(file, start, count, where)
    return file.array(dtype, start, count)


def _read_nested(cursor: _Cursor, where: str, depth: int) -> tuple[Any, ...]:
    if depth + 1 >= MAX_DEPTH:
        cursor.file.fail(where, f"arrays must nest at most {MAX_DEPTH} deep, but got more")
    count = cursor.count(where, _ARRAY_MIN_BYTES, MAX_NESTED_ARRAYS)
    cursor.nested_arrays += count
    if cursor.nested_arrays > MAX_NESTED_ARRAYS:
        cursor.file.fail(where, f"file must hold at most {MAX_NESTED_ARRAYS} nested arrays")
    return tuple(_read_array(cursor, where, depth + 1) for _ in range(count))


def _check_bools(file: FileMap, start: int, count: int, where: str) -> None:
    stored = file.slice(start, count)
    if count and int(stored.max()) > 1:
        file.fail(where, f"bool must be stored as 0 or 1, but got {int(stored.max())}")


def _alignment(file: FileMap, header: GgufHeader) -> int:
    value = header.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    if not is_count or not 1 <= value <= MAX_ALIGNMENT or value & (value - 1):
        file.fail(
            "metadata 'general.alignment'",
            f"alignment must be a power of two up to {MAX_ALIGNMENT}, but got {quoted(str(value))}",
        )
    return int(value)


def _read_tensor(cursor: _Cursor, header: GgufHeader, index: int) -> TensorInfo:
    """One tensor entry; `offset` is still relative to the data section."""
    file = cursor.file
    name = cursor.text(f"tensor {index} name", MAX_NAME_BYTES)
    if not name:
        file.fail(f"tensor {index} name", "name must not be empty")
    where = f"tensor {quoted(name)}"
    num_dims = cursor.u32(f"{where} dims")
    if num_dims > MAX_DIMS:
        file.fail(f"{where} dims", f"tensor must have at most {MAX_DIMS} dims, but got {num_dims}")
    innermost_first = [cursor.u64(f"{where} shape") for _ in range(num_dims)] or [1]
    type_id = cursor.u32(f"{where} type")
    offset = cursor.u64(f"{where} offset")
    architecture = header.metadata.get("general.architecture")
    kind = block_type(type_id, str(architecture), file.where(f"{where} type"))
    if 0 in innermost_first:
        file.fail(f"{where} shape", f"dimensions must be at least 1, but got {innermost_first}")
    columns = innermost_first[0]
    if columns % kind.block:
        file.fail(
            f"{where} shape",
            f"rows of {kind.name} must be a multiple of {kind.block} long, but got {columns}",
        )
    row_bytes = columns // kind.block * kind.block_bytes
    nbytes = row_bytes * math.prod(innermost_first[1:])
    shape = tuple(reversed(innermost_first))
    return TensorInfo(name, kind.name, shape, row_bytes, nbytes, file.path, offset)


def _place(
    file: FileMap, entries: list[TensorInfo], alignment: int, data_start: int
) -> dict[str, TensorInfo]:
    """Check names, bounds, alignment, overlaps; offsets then count from the start of the file."""
    tensors: dict[str, TensorInfo] = {}
    for entry in entries:
        where = f"tensor {quoted(entry.name)}"
        if entry.name in tensors:
            file.fail(where, "name must be unique, but got it twice")
        if entry.offset % alignment:
            file.fail(
                f"{where} offset",
                f"offset must be a multiple of {alignment}, but got {entry.offset}",
            )
        if entry.nbytes > file.data_end - data_start - entry.offset:
            file.fail(
                f"{where} data",
                f"data must end inside the file's {file.data_end} bytes, "
                f"but got {entry.nbytes} bytes at {data_start + entry.offset}",
                "the download may be incomplete",
            )
        tensors[entry.name] = replace(entry, offset=data_start + entry.offset)
    check_disjoint(file, tensors)
    return tensors


def check_disjoint(file: FileMap, tensors: dict[str, TensorInfo]) -> None:
    """Raise FileFormatError when the data of two tensors of one file overlap."""
    end, before = 0, ""
    for entry in sorted(tensors.values(), key=lambda tensor: tensor.offset):
        if entry.offset < end and entry.nbytes:
            file.fail(
                f"tensor {quoted(entry.name)} offset",
                f"tensors must not overlap, but got one that starts inside {quoted(before)}",
            )
        if entry.nbytes:
            end, before = entry.offset + entry.nbytes, entry.name
