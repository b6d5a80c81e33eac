"""Owns parsing the header of one safetensors file, strictly and without trusting any of it.

The header is JSON of a fixed shape, so it is scanned by that shape: nothing but tensors' names and
numbers is ever allocated, and nesting cannot grow. It does not know shards.
(Format: huggingface/safetensors, README "Format"; the rules of its reader are enforced.)
"""

from __future__ import annotations

import json
import math
import re
import struct
from typing import NamedTuple, NoReturn

from ingle.errors import UnsupportedError
from ingle.formats.container import TensorInfo
from ingle.formats.ggml_types import BlockType
from ingle.formats.mapping import FileMap, quoted
from ingle.numerics import FORMATS

MAX_HEADER_BYTES = 100_000_000
MAX_DIMS = 16
MAX_ELEMENTS = 1 << 59  # times 8 bytes still fits 63 bits

# F4 and F6 pack weights of a row into whole bytes.
DTYPES: dict[str, BlockType] = {
    name: BlockType(name, FORMATS[name].block, FORMATS[name].block_bytes)
    for name in ("F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
} | {
    name: BlockType(name, block, block_bytes)
    for name, block, block_bytes in [
        ("BOOL", 1, 1),
        ("U8", 1, 1),
        ("I8", 1, 1),
        ("F8_E8M0", 1, 1),
        ("F4", 2, 1),
        ("F6_E2M3", 4, 3),
        ("F6_E3M2", 4, 3),
        ("I16", 1, 2),
        ("U16", 1, 2),
        ("I32", 1, 4),
        ("U32", 1, 4),
        ("I64", 1, 8),
        ("U64", 1, 8),
        ("F64", 1, 8),
        ("C64", 1, 8),
    ]
}

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}(?![0-9])")


class SafetensorsHeader(NamedTuple):
    """The `__metadata__` strings and the tensors of one file."""

    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]


def parse_header(file: FileMap) -> SafetensorsHeader:
    """Read and check the header of one file. Raises FileFormatError or UnsupportedError."""
    if file.size < 8:
        file.fail("header", f"file must have at least 8 bytes, but got {file.size}")
    (length,) = struct.unpack_from("<Q", file.buffer, 0)
    limit = min(MAX_HEADER_BYTES, file.size - 8)
    if not 2 <= length <= limit:
        file.fail(
            "header",
            f"header length must be 2 to {limit}, but got {length}",
            "the file is not safetensors, or its download is incomplete",
        )
    try:
        text = bytes(file.slice(8, length)).decode()
    except UnicodeDecodeError as error:
        file.fail("header", f"header must be UTF-8, but byte {error.start} is not")
    scanner = _Scanner(file, text)
    entries, metadata = _scan_header(scanner)
    return SafetensorsHeader(metadata, _place(file, entries, data_start=8 + length))


class _Entry(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Scanner:
    """A position in the header's text, and the few JSON tokens that may occur there."""

    def __init__(self, file: FileMap, text: str) -> None:
        self.file = file
        self.text = text
        self.position = 0

    def fail(self, rule: str, field: str = "header") -> NoReturn:
        got = self.text[self.position : self.position + 12] or "the end"
        self.file.fail(field, f"{rule}, but got {quoted(got)} at character {self.position}")

    def accept(self, mark: str) -> bool:
        """Step over `mark` and the space around it, if it comes next."""
        if not self.text.startswith(mark, self.position):
            return False
        end = _SPACE.match(self.text, self.position + 1)
        self.position = end.end() if end else self.position + 1
        return True

    def expect(self, mark: str, field: str = "header") -> None:
        if not self.accept(mark):
            self.fail(f"{mark!r} must come next", field)

    def string(self, field: str = "header") -> str:
        if not self.text.startswith('"', self.position):
            self.fail("a string must come next", field)
        try:
            value, end = _DECODER.raw_decode(self.text, self.position)
            value.encode()  # escapes can spell half a surrogate pair
        except ValueError:
            self.fail("string must be valid JSON and Unicode", field)
        space = _SPACE.match(self.text, end)
        self.position = space.end() if space else end
        return str(value)

    def number(self, field: str) -> int:
        match = _NUMBER.match(self.text, self.position)
        if match is None:
            self.fail("a whole number below 10^19 must come next", field)
        space = _SPACE.match(self.text, match.end())
        self.position = space.end() if space else match.end()
        return int(match[0])

    def numbers(self, field: str, limit: int) -> tuple[int, ...]:
        """A list of at most `limit` numbers."""
        self.expect("[", field)
        values: list[int] = []
        while not self.accept("]"):
            if values:
                self.expect(",", field)
            if len(values) == limit:
                self.fail(f"list must have at most {limit} numbers", field)
            values.append(self.number(field))
        return tuple(values)


def _scan_header(scanner: _Scanner) -> tuple[dict[str, _Entry], dict[str, str]]:
    entries: dict[str, _Entry] = {}
    metadata: dict[str, str] | None = None
    scanner.expect("{")
    while not scanner.accept("}"):
        if entries or metadata is not None:
            scanner.expect(",")
        name = scanner.string()
        scanner.expect(":")
        if name in entries or (name == "__metadata__" and metadata is not None):
            scanner.file.fail(f"tensor {quoted(name)}", "name must be unique, but got it twice")
        if name == "__metadata__":
            metadata = _scan_metadata(scanner)
        else:
            entries[name] = _scan_tensor(scanner, f"tensor {quoted(name)}")
    if scanner.position != len(scanner.text):
        scanner.fail("header must end after its object")
    return entries, metadata or {}


def _scan_metadata(scanner: _Scanner) -> dict[str, str]:
    metadata: dict[str, str] = {}
    scanner.expect("{", "__metadata__")
    while not scanner.accept("}"):
        if metadata:
            scanner.expect(",", "__metadata__")
        key = scanner.string("__metadata__")
        scanner.expect(":", "__metadata__")
        if key in metadata:
            scanner.file.fail("__metadata__", f"key must be unique, but got {quoted(key)} twice")
        metadata[key] = scanner.string(f"__metadata__ {quoted(key)}")
    return metadata


def _scan_tensor(scanner: _Scanner, where: str) -> _Entry:
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    offsets: tuple[int, ...] | None = None
    scanner.expect("{", where)
    for index in range(3):
        if index:
            scanner.expect(",", where)
        key = scanner.string(where)
        scanner.expect(":", where)
        if key == "dtype" and dtype is None:
            dtype = scanner.string(f"{where} dtype")
        elif key == "shape" and shape is None:
            shape = scanner.numbers(f"{where} shape", MAX_DIMS)
        elif key == "data_offsets" and offsets is None:
            offsets = scanner.numbers(f"{where} data_offsets", 2)
        else:
            scanner.file.fail(
                where, f"keys must be dtype, shape, data_offsets once each, but got {quoted(key)}"
            )
    scanner.expect("}", where)
    if dtype is None or shape is None or offsets is None or len(offsets) != 2:
        scanner.file.fail(f"{where} data_offsets", f"offsets must be two, but got {offsets}")
    return _Entry(dtype, shape, *offsets)


def _place(file: FileMap, entries: dict[str, _Entry], data_start: int) -> dict[str, TensorInfo]:
    """Check sizes, bounds, overlaps, gaps and the total; keep the header's order."""
    tensors = {name: _tensor(file, name, entry, data_start) for name, entry in entries.items()}
    end = data_start
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset != end:
            file.fail(
                f"tensor {quoted(tensor.name)} data_offsets",
                f"data must begin where the one before ends, at {end - data_start}, "
                f"but got {tensor.offset - data_start}",
            )
        end += tensor.nbytes
    if end != file.size:
        file.fail(
            "data",
            f"tensors must fill the file to its end at {file.size}, but got {end}",
            "the download may be incomplete",
        )
    return tensors


def _tensor(file: FileMap, name: str, entry: _Entry, data_start: int) -> TensorInfo:
    where = f"tensor {quoted(name)}"
    kind = DTYPES.get(entry.dtype)
    if kind is None:
        raise UnsupportedError(
            file.where(f"{where} dtype"),
            f"dtype must be one of {', '.join(DTYPES)}, but got {quoted(entry.dtype)}",
        )
    if math.prod(max(size, 1) for size in entry.shape) > MAX_ELEMENTS:
        file.fail(f"{where} shape", f"shape must be addressable, but got {entry.shape}")
    columns = entry.shape[-1] if entry.shape else 1
    if columns % kind.block:
        raise UnsupportedError(
            file.where(f"{where} shape"),
            f"rows of {kind.name} must be a multiple of {kind.block} long, but got {columns}",
        )
    row_bytes = columns // kind.block * kind.block_bytes
    nbytes = row_bytes * math.prod(entry.shape[:-1])
    if entry.end - entry.begin != nbytes:
        file.fail(
            f"{where} data_offsets",
            f"data must be {nbytes} bytes for its shape, but got {entry.end - entry.begin}",
        )
    if entry.end > file.size - data_start:
        file.fail(
            f"{where} data_offsets",
            f"data must end inside the {file.size - data_start} bytes of data, but got {entry.end}",
            "the download may be incomplete",
        )
    return TensorInfo(
        name, kind.name, entry.shape, row_bytes, nbytes, file.path, data_start + entry.begin
    )
