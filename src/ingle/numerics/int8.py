"""Owns INT8: Q(x) = round(x / scale) + zero_point, with a scale per channel or per group.

Codes, scales and zero points are arrays of their own, as checkpoints keep them, so INT8 is not a
block format. It does not know how ranges are calibrated: the range here is that of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.numerics.format import Floats, block_chunks, require_finite

Codes = NDArray[np.int8]


@dataclass(frozen=True)
class Int8:
    """A tensor of 8-bit codes.

    codes: int8 (..., columns). scale: float32 (..., groups), where groups divides columns; one
    group is per-channel quantization. zero_point: int8 (..., groups), or None when symmetric.
    """

    codes: Codes
    scale: Floats
    zero_point: Codes | None = None

    def __post_init__(self) -> None:
        *rows, groups = self.scale.shape
        *code_rows, columns = self.codes.shape
        if rows != code_rows or not groups or columns % groups:
            got = f"scales {self.scale.shape} for codes {self.codes.shape}"
            raise IngleError("INT8", f"every row must have whole groups of codes, but got {got}")
        if self.zero_point is not None and self.zero_point.shape != self.scale.shape:
            got = f"{self.zero_point.shape} for scales {self.scale.shape}"
            raise IngleError("INT8", f"zero points must have the shape of scales, but got {got}")

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and zero points."""
        zero_bytes = 0 if self.zero_point is None else self.zero_point.nbytes
        return self.codes.nbytes + self.scale.nbytes + zero_bytes


def quantize(x: Floats, group: int | None = None, symmetric: bool = True) -> Int8:
    """INT8 codes of float32 (..., columns), rounding ties to even.

    group: columns that share a scale; None means a whole row (per channel).
    symmetric: codes -127..127 of the range [-max |x|, max |x|]; otherwise codes -128..127 of the
    range [min(x, 0), max(x, 0)], in which 0 is always exact. A group of zeros gets scale 1.
    IngleError when groups do not fill a row or a weight is not finite.
    """
    columns = x.shape[-1] if x.ndim else 0
    size = columns if group is None else group
    if size <= 0 or columns % size:
        raise IngleError("INT8", f"group must divide the {columns} columns, but got {size}")
    groups = x.reshape(-1, size)
    codes = np.empty(groups.shape, np.int8)
    scale = np.empty((len(groups), 1), np.float32)
    zero_point = np.zeros((len(groups), 1), np.int8)
    for rows in block_chunks(len(groups), size):
        part = groups[rows].astype(np.float32)
        require_finite("INT8", part)
        scale[rows], zero_point[rows] = _symmetric(part) if symmetric else _asymmetric(part)
        code = np.rint(part / scale[rows]) + zero_point[rows]
        codes[rows] = np.clip(code, -127 if symmetric else -128, 127)
    shape = (*x.shape[:-1], columns // size)
    return Int8(
        codes.reshape(x.shape),
        scale.reshape(shape),
        None if symmetric else zero_point.reshape(shape),
    )


def dequantize(tensor: Int8) -> Floats:
    """Weights (code - zero_point) * scale as float32 (..., columns)."""
    groups = tensor.codes.reshape(-1, tensor.codes.shape[-1] // tensor.scale.shape[-1])
    out = np.empty(groups.shape, np.float32)
    scale = tensor.scale.reshape(-1, 1)
    zero_point = None if tensor.zero_point is None else tensor.zero_point.reshape(-1, 1)
    for rows in block_chunks(*groups.shape):
        out[rows] = groups[rows]
        if zero_point is not None:
            out[rows] -= zero_point[rows]
        out[rows] *= scale[rows]
    return out.reshape(tensor.codes.shape)


def _symmetric(x: Floats) -> tuple[Floats, int]:
    return _nonzero(np.abs(x).max(axis=1, keepdims=True) / np.float32(127)), 0


def _asymmetric(x: Floats) -> tuple[Floats, Floats]:
    low = np.minimum(x.min(axis=1, keepdims=True), 0)
    high = np.maximum(x.max(axis=1, keepdims=True), 0)
    span = high.astype(np.float64) - low  # float32 could overflow
    scale = _nonzero((span / 255).astype(np.float32))
    return scale, np.clip(np.rint(-128 - low / scale), -128, 127)


def _nonzero(scale: Floats) -> Floats:
    return np.where(scale == 0, np.float32(1), scale)
