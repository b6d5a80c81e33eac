"""Owns NVFP4: 64 E2M1 codes under four unsigned E4M3 scales, one per 16 weights.

A file may carry a float32 scale per tensor beside it; that one is the model's business.
"""

from __future__ import annotations

import numpy as np

from ingle.numerics.e2m1 import DOUBLED, codes_ties_to_zero
from ingle.numerics.format import Bytes, Floats, Format
from ingle.numerics.nibbles import join_nibbles, split_nibbles


def _half_scale_table() -> Floats:
    """Half of the unsigned E4M3 value of every byte; bit 7 is ignored and 0x7F counts as 0."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, (code & 7).astype(np.float32)
    subnormal = np.ldexp(mantissa, -10)
    normal = np.ldexp(1 + mantissa / 8, exponent - 8)
    table = np.where(exponent == 0, subnormal, normal).astype(np.float32)
    table[0x7F] = 0
    return table


HALF_SCALES = _half_scale_table()


def _decode(blocks: Bytes) -> Floats:
    """u8 s[4]; qs[32]: eight bytes of codes per scale."""
    codes = split_nibbles(blocks[:, 4:].reshape(-1, 4, 8))
    return (HALF_SCALES[blocks[:, :4], None] * DOUBLED[codes]).reshape(-1, 64)


def _scale_codes(x: Floats) -> Bytes:
    """Unsigned E4M3 codes of non-negative floats by GGML's rule: ties up, 256 and more give 448."""
    bits = x.view(np.uint32)
    exponent = (bits >> np.uint32(23)).astype(np.int32) - 120
    normal = (bits >> np.uint32(20)).astype(np.int32) - (120 << 3)
    normal += (bits >> np.uint32(19) & np.uint32(1)).astype(np.int32)
    subnormal = np.minimum(np.trunc(x * np.float32(512) + np.float32(0.5)), 7)
    codes = np.where(exponent <= 0, subnormal, np.where(normal >= 15 << 3, 0x7E, normal))
    return codes.astype(np.uint8)


def _encode(x: Floats) -> Bytes:
    sub_blocks = x.reshape(-1, 4, 16)
    scales = _scale_codes(np.abs(sub_blocks).max(axis=2) / np.float32(6))
    codes = codes_ties_to_zero(sub_blocks, HALF_SCALES[scales][:, :, None])
    return np.concatenate([scales, join_nibbles(codes).reshape(-1, 32)], axis=1)


NVFP4 = Format("NVFP4", 40, 64, 36, _decode, _encode)
