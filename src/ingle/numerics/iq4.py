"""Owns decoding of IQ4_NL and IQ4_XS: 4-bit indices into one non-uniform codebook.

Encoding is a search and lives with the quantizer.
"""

from __future__ import annotations

import numpy as np

from ingle.numerics.format import Bytes, Floats, Format
from ingle.numerics.half import read_half
from ingle.numerics.nibbles import split_nibbles

CODEBOOK = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32
)
_LOW_SHIFTS = np.array([0, 4], np.uint8)
_HIGH_SHIFTS = np.arange(0, 16, 2, dtype=np.uint16)


def _decode_nl(blocks: Bytes) -> Floats:
    """f16 d; qs[16]."""
    return read_half(blocks, 0) * CODEBOOK[split_nibbles(blocks[:, 2:])]


def _sub_scales(blocks: Bytes) -> Floats:
    """Eight signed 6-bit scales: 4 low bits from scales_l, 2 high bits from scales_h."""
    high = np.ascontiguousarray(blocks[:, 2:4]).view("<u2") >> _HIGH_SHIFTS & np.uint16(3)
    low = (blocks[:, 4:8, None] >> _LOW_SHIFTS & np.uint8(15)).reshape(-1, 8)
    six_bits = low | (high.astype(np.uint8) << np.uint8(4))
    return (six_bits.view(np.int8) - np.int8(32)).astype(np.float32)


def xs_values(blocks: Bytes) -> tuple[Floats, Floats]:
    """f16 d; u16 scales_h; scales_l[4]; qs[128]: of the codebook (n, 8, 32), and scales (n, 8)."""
    scale = read_half(blocks, 0) * _sub_scales(blocks)
    return CODEBOOK[split_nibbles(blocks[:, 8:].reshape(-1, 8, 16))], scale


def _decode_xs(blocks: Bytes) -> Floats:
    values, scale = xs_values(blocks)
    return (scale[:, :, None] * values).reshape(-1, 256)


IQ4_NL = Format("IQ4_NL", 20, 32, 18, _decode_nl)
IQ4_XS = Format("IQ4_XS", 23, 256, 136, _decode_xs)
