"""Owns Q8_0: 32 signed bytes under one float16 scale (f16 d; int8 q[32])."""

from __future__ import annotations

import numpy as np

from ingle.numerics.format import Bytes, Floats, Format
from ingle.numerics.half import half_bytes, read_half


def _decode(blocks: Bytes) -> Floats:
    return read_half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _encode(x: Floats) -> Bytes:
    """Codes come from the unrounded scale, ties away from zero (C `roundf`), as GGML does."""
    scale = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    scaled = x * reciprocal(scale)
    whole = np.trunc(scaled)
    away = np.copysign((np.abs(scaled - whole) >= 0.5).astype(np.float32), scaled)
    codes = (whole + away).astype(np.int8).view(np.uint8)
    return np.concatenate([half_bytes("Q8_0", scale), codes], axis=1)


def reciprocal(scale: Floats) -> Floats:
    """1 / scale, and 0 where the scale is 0 or so small that 1 / scale overflows."""
    inverse = np.float32(1) / scale
    return np.where(np.isfinite(inverse), inverse, np.float32(0))


Q8_0 = Format("Q8_0", 8, 32, 34, _decode, _encode)
