"""Owns weight handles of the native backend: tiles in the kernel layout, or plain vectors.

A stack of experts is one handle: expert after expert, each from a tile of its own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ingle import _native
from ingle.backends.cpu.cores import usable_cores
from ingle.backends.cpu.memory import aligned_zeros
from ingle.formats.packed import PackedTiles
from ingle.numerics import FORMATS, Format, decode
from ingle.numerics.int8_blocks import INT8, joined, parts
from ingle.numerics.tiles import TILE_ROWS, num_tiles, tile_bytes, unpack
from ingle.ops import WeightMeta

_ALIGNMENT = 64  # bytes: one AVX-512 register, one cache line
_TILES_AT_ONCE = 256  # of one packing job: a few MB

# Formats with kernels of their own. The others are exact in float32 and multiplied as such.
_SUPER_FORMATS = frozenset({"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"})
INT8_FORMATS = _SUPER_FORMATS | {"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_0", "IQ4_NL", "MXFP4"}
# INT8 lies in the tiles of Q8_0 under scales of 1; what products are multiplied by comes after.
_TILES_OF_INT8 = FORMATS["Q8_0"]
_ONE_F16 = (0x00, 0x3C)
FLOAT_FORMATS = frozenset({"F32", "F16", "BF16"})


@dataclass(frozen=True, eq=False)
class CpuMatrix:
    """A matrix (rows, columns) or stack (experts, rows, columns); `native` is what tapes hold."""

    meta: WeightMeta
    native: _native.Matrix
    tiles: PackedTiles
    row_scales: NDArray[np.float32] | None = None

    @property
    def wants_int8(self) -> bool:
        """Whether its kernels take 8-bit activations."""
        return self.meta.format in INT8_FORMATS or self.meta.format == INT8.name


@dataclass(frozen=True, eq=False)
class CpuVector:
    """A gain, bias or sinks, float32 (n,), or biases (experts, n)."""

    meta: WeightMeta
    values: NDArray[np.float32]


def make_matrix(name: str, fmt: Format, data: NDArray[np.uint8], exact: bool = False) -> CpuMatrix:
    """Encoded rows ([experts,] rows, row_bytes) as tiles, packed on all cores."""
    if fmt is INT8 and data.ndim == 2:
        return _int8_matrix(name, data)
    *stacked, rows, row_bytes = data.shape
    columns = fmt.columns(row_bytes)
    native_format = fmt if fmt.name in INT8_FORMATS | FLOAT_FORMATS else FORMATS["F32"]
    size = tile_bytes(native_format, columns)
    stride = -(-size // _ALIGNMENT) * _ALIGNMENT
    per_matrix = num_tiles(rows)
    matrices = data.reshape(-1, rows, row_bytes)
    tiles = aligned_zeros((len(matrices) * per_matrix, stride), np.uint8)

    def pack(place: tuple[int, int]) -> None:
        index, first = place
        part = matrices[index, first * TILE_ROWS : (first + _TILES_AT_ONCE) * TILE_ROWS]
        if native_format is not fmt:
            part = decode(fmt, part).view(np.uint8)
        start = index * per_matrix + first
        out = tiles[start : start + num_tiles(len(part))]
        _native.pack_tiles_into(native_format.name, np.ascontiguousarray(part), columns, out)

    places = list(product(range(len(matrices)), range(0, per_matrix, _TILES_AT_ONCE)))
    if len(places) == 1:  # threads would cost more than they save
        pack(places[0])
    else:
        with ThreadPoolExecutor(usable_cores()) as workers:
            for _ in workers.map(pack, places):
                pass
    placed = PackedTiles(tiles.reshape(len(matrices), -1), 0, stride, rows, columns)
    return tiled_matrix(name, native_format, placed, exact, tuple(stacked))


def _int8_matrix(name: str, data: NDArray[np.uint8]) -> CpuMatrix:
    """INT8 rows: codes in tiles, the scale of each row beside them."""
    rows, row_bytes = data.shape
    codes, scales = parts(data.reshape(rows, -1, INT8.block_bytes))
    blocks = np.empty((*scales.shape, _TILES_OF_INT8.block_bytes), np.uint8)
    blocks[..., :2] = _ONE_F16
    blocks[..., 2:] = codes.view(np.uint8)
    held = make_matrix(name, _TILES_OF_INT8, blocks.reshape(rows, -1))
    row_scales = aligned_zeros((1, num_tiles(rows) * TILE_ROWS), np.float32)
    row_scales[0, :rows] = scales[:, 0]
    tiles, columns = held.tiles, INT8.columns(row_bytes)
    native = _native.Matrix(
        _TILES_OF_INT8.name,
        tiles.data,
        tiles.offset,
        tiles.tile_stride,
        rows,
        columns,
        row_scales,
    )
    meta = WeightMeta(name, INT8.name, (rows, columns), held.meta.nbytes + row_scales.nbytes)
    return CpuMatrix(meta, native, tiles, row_scales)


def tiled_matrix(
    name: str,
    fmt: Format,
    tiles: PackedTiles,
    exact: bool = False,
    stacked: tuple[int, ...] | None = None,
) -> CpuMatrix:
    """A handle of tiles where they lie. stacked: leading dimensions; () or (experts,).

    exact: BF16 weights leave activations as they are, instead of rounding them to BF16.
    """
    if stacked is None:
        stacked = () if len(tiles.data) == 1 else (len(tiles.data),)
    product = "BF16_BF16" if fmt.name == "BF16" and not exact else fmt.name
    native = _native.Matrix(
        product, tiles.data, tiles.offset, tiles.tile_stride, tiles.rows, tiles.columns
    )
    nbytes = len(tiles.data) * num_tiles(tiles.rows) * tiles.tile_stride
    meta = WeightMeta(name, fmt.name, (*stacked, tiles.rows, tiles.columns), nbytes)
    return CpuMatrix(meta, native, tiles)


def make_vector(name: str, values: NDArray[np.float32]) -> CpuVector:
    """A vector handle."""
    return CpuVector(WeightMeta(name, "F32", values.shape, values.nbytes), values)


def export(weight: CpuMatrix | CpuVector) -> NDArray[np.uint8]:
    """Encoded rows of a handle, in the format its `meta` names."""
    if isinstance(weight, CpuVector):
        return weight.values.view(np.uint8)
    if weight.row_scales is not None:
        return _exported_int8(weight, weight.row_scales)
    fmt, tiles = FORMATS[weight.meta.format], weight.tiles
    end = tiles.offset + num_tiles(tiles.rows) * tiles.tile_stride
    size = tile_bytes(fmt, tiles.columns)
    matrices = []
    for matrix in tiles.data:
        padded = matrix[tiles.offset : end].reshape(-1, tiles.tile_stride)
        matrices.append(unpack(fmt, np.ascontiguousarray(padded[:, :size]), tiles.rows))
    return np.stack(matrices).reshape(*weight.meta.shape[:-1], -1)


def _exported_int8(weight: CpuMatrix, row_scales: NDArray[np.float32]) -> NDArray[np.uint8]:
    rows, columns = weight.meta.shape
    meta = WeightMeta(weight.meta.name, _TILES_OF_INT8.name, (rows, columns), 0)
    blocks = export(CpuMatrix(meta, weight.native, weight.tiles))
    codes = blocks.reshape(rows, -1, _TILES_OF_INT8.block_bytes)[..., 2:]
    flat = np.ascontiguousarray(codes).view(np.int8).reshape(rows, columns)
    return joined(flat, row_scales[0, :rows, None])
