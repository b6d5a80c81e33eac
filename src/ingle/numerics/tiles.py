"""Owns the kernel layout: tiles of 16 rows, a reordering of a matrix's blocks and nothing else.

A tile of a 32-wide format holds, for each block of columns in order, the codes of its 16 rows
(group by group of 4 columns, row by row, so that 64 bytes feed 16 lanes); then for each block the
16 scales; then, where the format has them, for each block the 16 minimums:

    Q8_0           groups 0..7: byte 4r + j of group g is column 4g + j of row r
    Q4_x IQ4 MXFP4 groups 0..3: low nibble is column 4g + j, high nibble column 16 + 4g + j
    Q5_x           as Q4_x, followed by the 16 u32 of fifth bits
    Q6_0           as Q4_x, followed by two groups of high pairs: bytes 0..3, then 4..7 of qh
    F32 F16 BF16   column after column, 16 values each

A tile of super-blocks (super_tiles.py says how a row's bytes are ordered) holds the codes of all
blocks of 32 columns, group by group as above; then for each super-block byte after byte of the 16
rows' sub-scales, the 16 scales, and the 16 scales of minimums where it has them.

Rows past the end are zero bytes. It does not know which instruction set reads a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ingle.errors import IngleError, UnsupportedError
from ingle.numerics.format import CHUNK_WEIGHTS, Bytes, Format
from ingle.numerics.super_tiles import FIELDS as SUPER_FIELDS
from ingle.numerics.super_tiles import SuperFields, ordered, restored

TILE_ROWS = 16
_GROUP = 4  # bytes of codes that stay together
_Pieces = Iterator[tuple[Bytes, Bytes]]


class _Fields(NamedTuple):
    """Where the fields of a block lie, in bytes; an absent field is empty."""

    scale: slice
    quants: slice
    mins: slice = slice(0, 0)
    high: slice = slice(0, 0)  # bits above the fourth


_HALF_THEN_QUANTS = _Fields(slice(0, 2), slice(2, 18))
_FIELDS = {
    "Q8_0": _Fields(slice(0, 2), slice(2, 34)),
    "Q4_0": _HALF_THEN_QUANTS,
    "IQ4_NL": _HALF_THEN_QUANTS,
    "Q4_1": _Fields(slice(0, 2), slice(4, 20), mins=slice(2, 4)),
    "Q5_0": _Fields(slice(0, 2), slice(6, 22), high=slice(2, 6)),
    "Q5_1": _Fields(slice(0, 2), slice(8, 24), mins=slice(2, 4), high=slice(4, 8)),
    "Q6_0": _Fields(slice(0, 2), slice(10, 26), high=slice(2, 10)),
    "MXFP4": _Fields(slice(0, 1), slice(1, 17)),
    "F32": _Fields(slice(0, 0), slice(0, 4)),
    "F16": _Fields(slice(0, 0), slice(0, 2)),
    "BF16": _Fields(slice(0, 0), slice(0, 2)),
}


def has_tiles(fmt: Format) -> bool:
    """Whether the format has a kernel layout of its own."""
    return fmt.name in _FIELDS or fmt.name in SUPER_FIELDS


def num_tiles(rows: int) -> int:
    """Tiles that hold `rows` rows."""
    return -(-rows // TILE_ROWS)


def tile_bytes(fmt: Format, columns: int) -> int:
    """Bytes of one tile of `columns` columns: exactly those of 16 rows."""
    _fields(fmt)
    return TILE_ROWS * fmt.row_bytes(columns)


def pack(fmt: Format, blocks: Bytes) -> Bytes:
    """Tiles of encoded rows: uint8 (rows, row_bytes) -> uint8 (num_tiles, tile_bytes).

    UnsupportedError when the format has no tiles, IngleError when a row holds a part of a block.
    """
    fields = _fields(fmt)
    if blocks.dtype != np.uint8 or blocks.ndim != 2:
        got = f"{blocks.dtype} {blocks.shape}"
        raise IngleError(fmt.name, f"blocks must be uint8 (rows, row bytes), but got {got}")
    rows, row_bytes = blocks.shape
    tiles = np.empty((num_tiles(rows), tile_bytes(fmt, fmt.columns(row_bytes))), np.uint8)
    for tile in range(0, len(tiles), step := _tiles_per_chunk(row_bytes)):
        chunk = tiles[tile : tile + step]
        padded = np.zeros((len(chunk) * TILE_ROWS, row_bytes), np.uint8)
        part = blocks[tile * TILE_ROWS : (tile + step) * TILE_ROWS]
        padded[: len(part)] = part
        source = padded.reshape(len(chunk), TILE_ROWS, -1, fmt.block_bytes)
        if isinstance(fields, SuperFields):
            flat = ordered(fmt.name, source.reshape(-1, fmt.block_bytes))
            source = flat.reshape(source.shape)
        for in_tile, in_blocks in _pieces(fields, chunk, source):
            in_tile[...] = in_blocks
    return tiles


def unpack(fmt: Format, tiles: Bytes, rows: int) -> Bytes:
    """Encoded rows uint8 (rows, row_bytes) of tiles; the inverse of `pack`."""
    fields = _fields(fmt)
    if tiles.dtype != np.uint8 or tiles.ndim != 2 or len(tiles) != num_tiles(rows):
        got = f"{tiles.dtype} {tiles.shape}"
        rule = f"tiles of {rows} rows must be uint8 ({num_tiles(rows)}, tile bytes), but got {got}"
        raise IngleError(fmt.name, rule)
    columns = fmt.columns(tiles.shape[1] // TILE_ROWS)
    row_bytes = fmt.row_bytes(columns)
    if TILE_ROWS * row_bytes != tiles.shape[1]:
        raise IngleError(fmt.name, f"a tile must hold whole blocks, but got {tiles.shape[1]} bytes")
    blocks = np.empty((rows, row_bytes), np.uint8)
    for tile in range(0, len(tiles), step := _tiles_per_chunk(row_bytes)):
        chunk = np.ascontiguousarray(tiles[tile : tile + step])
        target = np.empty((len(chunk), TILE_ROWS, columns // fmt.block, fmt.block_bytes), np.uint8)
        for in_tile, in_blocks in _pieces(fields, chunk, target):
            in_blocks[...] = in_tile
        if isinstance(fields, SuperFields):
            flat = restored(fmt.name, target.reshape(-1, fmt.block_bytes))
            target = flat.reshape(target.shape)
        part = blocks[tile * TILE_ROWS : (tile + step) * TILE_ROWS]
        part[...] = target.reshape(len(chunk) * TILE_ROWS, row_bytes)[: len(part)]
    return blocks


def _fields(fmt: Format) -> _Fields | SuperFields:
    found = _FIELDS.get(fmt.name) or SUPER_FIELDS.get(fmt.name)
    if found is None:
        names = ", ".join([*_FIELDS, *SUPER_FIELDS])
        rule = f"format must be one of {names}, but got {fmt.name}"
        raise UnsupportedError("kernel layout", rule, "decode the tensor to one of these first")
    return found


def _tiles_per_chunk(row_bytes: int) -> int:
    return max(1, CHUNK_WEIGHTS // max(1, TILE_ROWS * row_bytes))


def _pieces(fields: _Fields | SuperFields, tiles: Bytes, blocks: Bytes) -> _Pieces:
    """Pairs of equally shaped views, into tiles (t, bytes) and blocks (t, 16, B, block bytes)."""
    if isinstance(fields, SuperFields):
        return _super_pieces(fields, tiles, blocks)
    return _block_pieces(fields, tiles, blocks)


def _super_pieces(fields: SuperFields, tiles: Bytes, blocks: Bytes) -> _Pieces:
    count, _, supers, block_bytes = blocks.shape
    groups, codes = fields.quants // _GROUP, 8 * fields.quants
    in_tiles = tiles[:, : supers * codes * TILE_ROWS]
    in_blocks = blocks[..., :codes].reshape(count, TILE_ROWS, supers, 8, groups, _GROUP)
    yield (
        in_tiles.reshape(count, supers, 8, groups, TILE_ROWS, _GROUP),
        in_blocks.transpose(0, 2, 3, 4, 1, 5),
    )
    parts = tiles[:, in_tiles.shape[1] :].reshape(count, supers, TILE_ROWS * (block_bytes - codes))
    subs = parts[..., : TILE_ROWS * fields.subs]
    yield (
        subs.reshape(count, supers, fields.subs, TILE_ROWS),
        blocks[..., codes : codes + fields.subs].transpose(0, 2, 3, 1),
    )
    start = TILE_ROWS * fields.subs
    for at in range(codes + fields.subs, block_bytes, 2):
        yield (
            parts[..., start : start + 2 * TILE_ROWS].reshape(count, supers, TILE_ROWS, 2),
            blocks[..., at : at + 2].transpose(0, 2, 1, 3),
        )
        start += 2 * TILE_ROWS


def _block_pieces(fields: _Fields, tiles: Bytes, blocks: Bytes) -> _Pieces:
    """Codes are seen as (t, B, groups, 16, bytes of a group), fields as (t, B, 16, bytes)."""
    count, _, num_blocks, _ = blocks.shape
    quants = blocks[..., fields.quants]
    group = min(_GROUP, quants.shape[-1])
    groups = quants.shape[-1] // group
    high = blocks[..., fields.high]
    high_groups = high.shape[-1] // _GROUP
    codes_bytes = TILE_ROWS * quants.shape[-1]
    stride = codes_bytes + TILE_ROWS * high.shape[-1]
    codes = tiles[:, : num_blocks * stride].reshape(count, num_blocks, stride)
    yield (
        codes[:, :, :codes_bytes].reshape(count, num_blocks, groups, TILE_ROWS, group),
        quants.reshape(count, TILE_ROWS, num_blocks, groups, group).transpose(0, 2, 3, 1, 4),
    )
    yield (
        codes[:, :, codes_bytes:].reshape(count, num_blocks, high_groups, TILE_ROWS, _GROUP),
        high.reshape(count, TILE_ROWS, num_blocks, high_groups, _GROUP).transpose(0, 2, 3, 1, 4),
    )
    start = num_blocks * stride
    for field in (blocks[..., fields.scale], blocks[..., fields.mins]):
        stop = start + TILE_ROWS * num_blocks * field.shape[-1]
        yield (
            tiles[:, start:stop].reshape(count, num_blocks, TILE_ROWS, field.shape[-1]),
            field.transpose(0, 2, 1, 3),
        )
        start = stop
