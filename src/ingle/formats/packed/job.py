"""Owns the two jobs: a GGUF becomes a packed file, and a packed file that GGUF again, bit for bit.

Both stream, resume after a kill and appear whole or not at all (`JournaledFile`). They do not know
models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ingle import _native
from ingle.errors import IngleError, UnsupportedError
from ingle.formats.gguf import GgufFile
from ingle.formats.mapping import Bytes
from ingle.formats.packed.file import PackedFile
from ingle.formats.packed.layout import HEADER, PAGE_BYTES, VERSION, Entry, Piece, entries_of
from ingle.formats.packed.requantized import Requantized
from ingle.formats.writer import Progress, TensorSpec, write_raw, write_safetensors
from ingle.numerics.tiles import TILE_ROWS

_TILES_AT_ONCE = 512


def pack(
    source: str | Path,
    target: str | Path,
    progress: Progress | None = None,
    *,
    head: str = "",
    attention: str = "",
    head_scan: str = "",
) -> Path:
    """Write the GGUF at `source` as a packed file; what was interrupted continues.

    head, attention, head_scan: other formats for them ("q4"; see `Requantized`).
    Raises UnsupportedError for other containers, for split models and for formats that kernels do
    not read, FileFormatError for damaged files, IngleError when there is no room.
    """
    source, target = Path(source), Path(target)
    model = GgufFile.open(source)
    if len(model.files) > 1:
        rule = f"model must be one file to be packed, but got {len(model.files)}"
        raise UnsupportedError(str(source), rule, "join the parts first")
    start = min((info.offset for info in model.tensors.values()), default=source.stat().st_size)
    header = np.fromfile(source, np.uint8, count=start)
    size = source.stat().st_size
    _require_no_hidden_bytes(model, start, size)
    changed = None
    if head or attention or head_scan:
        changed = Requantized(model, head, attention, head_scan)
    if changed is not None:
        model, header, size = changed, changed.header, changed.num_bytes
    entries = {entry.name: entry for entry in entries_of(model.tensors)}
    padded = -(-len(header) // PAGE_BYTES) * PAGE_BYTES
    specs = [TensorSpec(HEADER, "U8", (1, padded))]
    specs += [TensorSpec(e.name, "U8", (e.num_matrices, e.nbytes)) for e in entries.values()]

    def read(name: str) -> Iterator[Bytes]:
        model.release()
        if name == HEADER:
            yield header
            yield np.zeros(padded - len(header), np.uint8)
        else:
            yield from _matrices(model, entries[name])

    digest = hashlib.sha256(header.tobytes()).hexdigest()
    metadata = {
        "ingle.packed": VERSION,
        "source": source.name,
        "source_bytes": str(size),
        "source_header_sha256": digest,
        "header_bytes": str(len(header)),
    }
    job = f"{digest} {size} {source.stat().st_mtime_ns}"
    write_safetensors(
        target, metadata, specs, read, job=job, progress=progress, alignment=PAGE_BYTES
    )
    return target


def unpack(source: PackedFile, target: str | Path, progress: Progress | None = None) -> Path:
    """Write the GGUF that `source` was made from."""
    target = Path(target)
    ordered = sorted(source.tensors.values(), key=lambda info: info.offset)
    ends = [info.offset for info in ordered[1:]] + [source.source_bytes]
    sizes = [end - info.offset for info, end in zip(ordered, ends, strict=True)]
    names = [info.name for info in ordered]
    gaps = {info.name: size - info.nbytes for info, size in zip(ordered, sizes, strict=True)}

    def read(name: str) -> Iterator[Bytes]:
        yield source.read(name)
        yield np.zeros(gaps[name], np.uint8)

    job = hashlib.sha256(source.header.tobytes()).hexdigest()
    write_raw(target, bytes(source.header), names, sizes, read, job=job, progress=progress)
    return target


def _matrices(model: GgufFile, entry: Entry) -> Iterator[Bytes]:
    """The bytes of an entry, piece by piece, padding included."""
    for index in range(entry.num_matrices):
        position = 0
        for piece in entry.pieces:
            yield np.zeros(piece.offset - position, np.uint8)
            if piece.tile_stride:
                yield from _tiles(model, piece, entry.num_matrices, index)
            else:
                yield model.read(piece.tensor).reshape(entry.num_matrices, -1)[index]
            position = piece.offset + piece.nbytes
        yield np.zeros(entry.nbytes - position, np.uint8)


def _tiles(model: GgufFile, piece: Piece, num_matrices: int, index: int) -> Iterator[Bytes]:
    """Of one matrix of a stack, a few MB at a time."""
    info = model.tensors[piece.tensor]
    if isinstance(model, Requantized):
        data = model.source.read(model.origin(piece.tensor))
    else:
        data = model.read(piece.tensor)
    rows = data.reshape(num_matrices, info.shape[-2], data.shape[-1])[index]
    step = _TILES_AT_ONCE * TILE_ROWS
    for first in range(0, len(rows), step):
        part = np.ascontiguousarray(rows[first : first + step])
        if isinstance(model, Requantized):
            part = model.recode(piece.tensor, part)
        tiles = np.zeros((-(-len(part) // TILE_ROWS), piece.tile_stride), np.uint8)
        _native.pack_tiles_into(info.format, part, info.shape[-1], tiles)
        yield tiles


def _require_no_hidden_bytes(model: GgufFile, start: int, size: int) -> None:
    """What lies between tensors is not kept, so it must be zeros."""
    position = start
    ordered = sorted(model.tensors.values(), key=lambda info: info.offset)
    bounds = [(info.offset, info.offset + info.nbytes) for info in ordered] + [(size, size)]
    with model.path.open("rb") as file:
        for begin, end in bounds:
            file.seek(position)
            gap = file.read(begin - position)
            if gap.strip(b"\0"):
                rule = f"bytes between tensors must be zeros, but got others at {position}"
                raise IngleError(str(model.path), rule, "rewrite the file with `ingle convert`")
            position = end
