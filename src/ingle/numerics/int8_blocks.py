"""Owns INT8 as kernels take it: 32 signed bytes under one float32 scale (f32 d; int8 q[32]).

No file holds it: checkpoints keep codes and scales apart (`int8`). Every block of a row has the
row's scale, unrounded, so that the scale may be taken out of a sum over the row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingle.numerics.format import Bytes, Floats, Format

_SCALE_BYTES = 4


def _decode(blocks: Bytes) -> Floats:
    codes, scales = parts(blocks)
    return codes.astype(np.float32) * scales[:, None]


def parts(blocks: Bytes) -> tuple[NDArray[np.int8], Floats]:
    """Codes (..., 32) and scales (...,) of blocks (..., 36)."""
    scales = np.ascontiguousarray(blocks[..., :_SCALE_BYTES]).view(np.float32)[..., 0]
    return blocks[..., _SCALE_BYTES:].view(np.int8), scales


def joined(codes: NDArray[np.int8], scales: Floats) -> Bytes:
    """Rows (rows, row_bytes) of codes (rows, columns) and scales (rows, 1)."""
    rows, columns = codes.shape
    blocks = np.empty((rows, columns // INT8.block, INT8.block_bytes), np.uint8)
    scale_bytes = np.ascontiguousarray(scales, np.float32).view(np.uint8)
    blocks[..., :_SCALE_BYTES] = scale_bytes.reshape(rows, 1, _SCALE_BYTES)
    blocks[..., _SCALE_BYTES:] = codes.reshape(rows, -1, INT8.block).view(np.uint8)
    return blocks.reshape(rows, -1)


INT8 = Format("INT8", None, 32, 36, _decode)
