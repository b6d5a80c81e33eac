"""Owns weight handles of the native backend: tiles in the kernel layout, or plain vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ingle import _native
from ingle.numerics import FORMATS, Format, decode
from ingle.numerics.tiles import num_tiles, tile_bytes, unpack
from ingle.ops import WeightMeta

Item = TypeVar("Item", bound=np.generic)

_ALIGNMENT = 64  # bytes: one AVX-512 register, one cache line

# Formats with kernels of their own. The others are exact in float32 and multiplied as such.
INT8_FORMATS = frozenset({"Q8_0", "Q4_0", "Q4_1", "IQ4_NL", "MXFP4"})
FLOAT_FORMATS = frozenset({"F32", "F16", "BF16"})


def aligned_zeros(shape: tuple[int, ...], dtype: type[Item]) -> NDArray[Item]:
    """Zeroed memory that starts on a cache line; pages are taken from the system when touched."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + _ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % _ALIGNMENT
    return raw[offset : offset + size].view(dtype).reshape(shape)


@dataclass(frozen=True, eq=False)
class CpuMatrix:
    """A weight matrix in tiles. `native` is what tapes hold."""

    meta: WeightMeta
    native: _native.Matrix
    tiles: NDArray[np.uint8]

    @property
    def wants_int8(self) -> bool:
        """Whether its kernels take 8-bit activations."""
        return self.meta.format in INT8_FORMATS


@dataclass(frozen=True, eq=False)
class CpuVector:
    """A gain, bias or sinks, float32 (n,)."""

    meta: WeightMeta
    values: NDArray[np.float32]


def make_matrix(name: str, fmt: Format, data: NDArray[np.uint8]) -> CpuMatrix:
    """Encoded rows (rows, row_bytes) as tiles."""
    rows, columns = data.shape[0], fmt.columns(data.shape[1])
    if fmt.name not in INT8_FORMATS | FLOAT_FORMATS:
        fmt, data = FORMATS["F32"], decode(fmt, data).view(np.uint8)
    tiles = aligned_zeros((num_tiles(rows), tile_bytes(fmt, columns)), np.uint8)
    source = np.ascontiguousarray(data)
    tiles[:] = _native.pack_tiles(fmt.name, source, rows, columns)
    native = _native.Matrix(fmt.name, tiles, rows, columns)
    return CpuMatrix(WeightMeta(name, fmt.name, (rows, columns), tiles.nbytes), native, tiles)


def make_vector(name: str, values: NDArray[np.float32]) -> CpuVector:
    """A vector handle."""
    return CpuVector(WeightMeta(name, "F32", values.shape, values.nbytes), values)


def export(weight: CpuMatrix | CpuVector) -> NDArray[np.uint8]:
    """Encoded rows of a handle, in the format its `meta` names."""
    if isinstance(weight, CpuVector):
        return weight.values.view(np.uint8)
    return unpack(FORMATS[weight.meta.format], weight.tiles, weight.meta.shape[0])
