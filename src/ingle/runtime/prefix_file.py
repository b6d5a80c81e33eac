"""Owns the file of one prefix page on disk: a header, the keys and values, a checksum over both.

Layout: magic, header length (u32), checksum (32 bytes, BLAKE2b of what follows), header (JSON),
then keys and values, of the type that the header says, of each group that is present. It does not
know directories.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ingle.errors import FileFormatError
from ingle.ops import KV_DTYPES, PAGE_TOKENS, KvArray

MAGIC = b"ingleKV2"
_HEAD = struct.Struct("<8sI32s")
_MAX_HEADER = 1 << 16
_DIGEST_BYTES = 32

Arrays = tuple[KvArray, KvArray]  # keys and values of a page, all layers


@dataclass(frozen=True)
class PageHeader:
    """Which prefix a file continues, with which tokens, for which groups it has pages, and what
    its numbers are kept as."""

    model: str
    kv_type: str
    parent: str
    tokens: tuple[int, ...]
    groups: tuple[int, ...]

    @classmethod
    def of(cls, where: str, said: Any) -> PageHeader:
        """Out of JSON. Raises FileFormatError."""
        try:
            header = cls(
                str(said["model"]),
                str(said["kv_type"]),
                str(said["parent"]),
                tuple(said["tokens"]),
                tuple(said["groups"]),
            )
        except (KeyError, TypeError):
            raise FileFormatError(where, "a prefix must say what it is, but got less") from None
        numbers = (*header.tokens, *header.groups)
        right = all(type(n) is int and 0 <= n < 1 << 31 for n in numbers)
        if not right or not 1 <= len(header.tokens) <= PAGE_TOKENS:
            raise FileFormatError(where, "a prefix must have 1 to 64 tokens, but got others")
        if header.kv_type not in KV_DTYPES:
            raise FileFormatError(where, "a prefix must be of a known type, but got another")
        return header


def write_page(path: Path, header: PageHeader, arrays: Sequence[Arrays]) -> int:
    """Writes aside and renames; bytes written. Raises OSError, leaving nothing behind."""
    said = json.dumps(vars(header)).encode()
    parts = [said, *(np.ascontiguousarray(one).tobytes() for pair in arrays for one in pair)]
    checksum = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        checksum.update(part)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(_HEAD.pack(MAGIC, len(said), checksum.digest()))
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    return size


def read_header(path: Path) -> PageHeader:
    """The header alone, not held against the checksum. Raises FileFormatError, OSError."""
    with path.open("rb") as file:
        return _header(path, file.read(_HEAD.size + _MAX_HEADER))[0]


def read_page(path: Path, expected: PageHeader, shapes: Sequence[Sequence[int]]) -> list[Arrays]:
    """Keys and values per group of `expected`; shapes: (layers, kv_heads, head_dim) of each.

    Raises FileFormatError for a file that is another one, or damaged; OSError.
    """
    dtype = KV_DTYPES[expected.kv_type]
    size = sum(2 * dtype.itemsize * PAGE_TOKENS * int(np.prod(shape)) for shape in shapes)
    with path.open("rb") as file:
        data = file.read(_HEAD.size + _MAX_HEADER + size + 1)
    header, start, checksum = _header(path, data)
    if header != expected or len(data) != start + size:
        raise FileFormatError(str(path), "a prefix must be the one it is named after, but got less")
    if blake2b(memoryview(data)[_HEAD.size :], digest_size=_DIGEST_BYTES).digest() != checksum:
        raise FileFormatError(str(path), "the checksum must hold, but got other bytes")
    pages: list[Arrays] = []
    for layers, heads, head_dim in shapes:
        count = layers * heads * head_dim * PAGE_TOKENS
        keys, values = (
            np.frombuffer(data, dtype, count, start + i * count * dtype.itemsize) for i in (0, 1)
        )
        start += 2 * count * dtype.itemsize
        pages.append(
            (
                keys.reshape(layers, heads, head_dim, PAGE_TOKENS),
                values.reshape(layers, heads, PAGE_TOKENS, head_dim),
            )
        )
    return pages


def _header(path: Path, data: bytes) -> tuple[PageHeader, int, bytes]:
    where = str(path)
    if len(data) < _HEAD.size:
        raise FileFormatError(where, "a prefix must have a header, but got less")
    magic, length, checksum = _HEAD.unpack_from(data)
    if magic != MAGIC or length > _MAX_HEADER or len(data) < _HEAD.size + length:
        raise FileFormatError(where, "a prefix must have a header, but got another")
    try:
        said = json.loads(data[_HEAD.size : _HEAD.size + length])
    except (ValueError, RecursionError):
        raise FileFormatError(where, "a prefix's header must be JSON, but got other") from None
    return PageHeader.of(where, said), _HEAD.size + length, checksum
