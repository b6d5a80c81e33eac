"""Owns reading packed files: GGUF metadata and tensors, and tiles straight out of the map.

The container is safetensors; the header of the GGUF it was made from lies inside and is parsed like
any other. Nothing a file says is believed before it is compared with the layout.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np

from ingle.errors import FileFormatError, IngleError
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_header import parse_header
from ingle.formats.mapping import Bytes, FileMap, quoted
from ingle.formats.packed.header import HeaderMap
from ingle.formats.packed.layout import HEADER, VERSION, Entry, Piece, entries_of
from ingle.formats.safetensors import SafetensorsFile
from ingle.numerics import FORMATS
from ingle.numerics.tiles import tile_bytes, unpack

_MAX_BYTES = 1 << 50


@dataclass(frozen=True, eq=False)
class PackedTiles:
    """A tensor's tiles: matrix m begins at data[m, offset], tile t `tile_stride * t` after it.

    data: uint8 (num_matrices, bytes), a view of the map. rows and columns are those of one matrix.
    file: what is mapped, with `data` beginning at byte `start` of it; None: memory of one's own.
    """

    data: Bytes
    offset: int
    tile_stride: int
    rows: int
    columns: int
    file: FileMap | None = None
    start: int = 0

    @property
    def place(self) -> tuple[int, int] | None:
        """Descriptor and offset that the tiles of the first matrix can be read from, if any."""
        if self.file is None or not hasattr(os, "pread"):
            return None
        return self.file.descriptor, self.start + self.offset


def is_packed(container: SafetensorsFile) -> bool:
    """Whether a safetensors file is a packed one."""
    return "ingle.packed" in container.metadata


class PackedFile(GgufFile):
    """A GGUF in everything but where its bytes lie; `read` undoes the packing."""

    def __init__(self, stored: SafetensorsFile) -> None:
        self._stored = stored
        self.path = stored.path
        header = parse_header(self._header_map())
        self.version, self.alignment = header.version, header.alignment
        self.metadata = MappingProxyType(header.metadata)
        self.value_types = MappingProxyType(header.types)
        self.tensors = MappingProxyType(header.tensors)
        self.entries = entries_of(header.tensors)
        self._places: dict[str, tuple[Entry, Piece]] = {}
        for entry in self.entries:
            self._check(entry)
            self._places.update({piece.tensor: (entry, piece) for piece in entry.pieces})

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a packed file. Raises FileFormatError naming what is not as it must be."""
        return cls(SafetensorsFile.open(path))

    @property
    def files(self) -> tuple[Path, ...]:
        """The packed file."""
        return self._stored.files

    @property
    def header(self) -> Bytes:
        """The header of the GGUF, byte by byte."""
        return self._stored.read(HEADER).reshape(-1)[: self._number("header_bytes")]

    @property
    def source_bytes(self) -> int:
        """Size of the GGUF."""
        return self._number("source_bytes")

    def release(self) -> None:
        """Nothing: what was read of the map is what runs."""

    def read(self, name: str) -> Bytes:
        """Bytes of a tensor as in the GGUF, `(*shape[:-1], row_bytes)` uint8; tiles are copied."""
        info = self.tensors.get(name)
        if info is None:
            raise IngleError(str(self.path), f"tensor must be in the file, but got {quoted(name)}")
        tiles = self.tiles(name)
        if tiles is not None:
            return self._unpacked(name, tiles)
        return np.ascontiguousarray(self.rows(name))

    def rows(self, name: str) -> Bytes:
        """Bytes of a tensor that has no tiles, `(*shape[:-1], row_bytes)` uint8: a view of the map;
        its rows may lie apart."""
        info, (entry, piece) = self.tensors[name], self._places[name]
        data = self._stored.read(entry.name)[:, piece.offset : piece.offset + piece.nbytes]
        return data.reshape(*info.shape[:-1], info.row_bytes)

    def tiles(self, name: str) -> PackedTiles | None:
        """A tensor's tiles, or None when it keeps its plain bytes."""
        entry, piece = self._places[name]
        if not piece.tile_stride:
            return None
        rows, columns = self.tensors[name].shape[-2:]
        data, (file, start) = self._stored.read(entry.name), self._stored.place(entry.name)
        return PackedTiles(data, piece.offset, piece.tile_stride, rows, columns, file, start)

    def _unpacked(self, name: str, tiles: PackedTiles) -> Bytes:
        info = self.tensors[name]
        fmt = FORMATS[info.format]
        out = np.empty((len(tiles.data), tiles.rows, info.row_bytes), np.uint8)
        for matrix, into in zip(tiles.data, out, strict=True):
            end = tiles.offset + self._places[name][1].nbytes
            padded = matrix[tiles.offset : end].reshape(-1, tiles.tile_stride)
            exact = np.ascontiguousarray(padded[:, : tile_bytes(fmt, tiles.columns)])
            into[:] = unpack(fmt, exact, tiles.rows)
        return out.reshape(*info.shape[:-1], info.row_bytes)

    def _header_map(self) -> HeaderMap:
        version = self._stored.metadata.get("ingle.packed")
        if version != VERSION:
            rule = f"packed layout must be version {VERSION}, but got {version!a:.40}"
            raise FileFormatError(str(self.path), rule, "pack the model again")
        info = self._stored.tensors.get(HEADER)
        length = self._number("header_bytes")
        if info is None or info.format != "U8" or not 24 <= length <= info.nbytes:
            raise FileFormatError(str(self.path), f"tensor {HEADER} must hold a GGUF header")
        return HeaderMap(self.path, self.header, self.source_bytes)

    def _number(self, key: str) -> int:
        text = str(self._stored.metadata.get(key, ""))
        if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) <= _MAX_BYTES):
            raise FileFormatError(str(self.path), f"{key} must be a number, but got {text!a:.40}")
        return int(text)

    def _check(self, entry: Entry) -> None:
        info = self._stored.tensors.get(entry.name)
        shape = (entry.num_matrices, entry.nbytes)
        if info is None or info.format != "U8" or info.shape != shape:
            got = "none" if info is None else f"{info.format} {info.shape}"
            rule = f"tensor {quoted(entry.name)} must be U8 {shape}, but got {got}"
            raise FileFormatError(str(self.path), rule, "pack the model again")
