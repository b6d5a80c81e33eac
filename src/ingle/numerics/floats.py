"""Owns the plain floats: F32, F16 and BF16, little endian, one weight per block."""

from __future__ import annotations

import numpy as np

from ingle.numerics.format import Bytes, Floats, Format


def _decode_f32(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f4")


def _encode_f32(x: Floats) -> Bytes:
    return x.astype("<f4", copy=False).view(np.uint8)


def _decode_f16(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def _encode_f16(x: Floats) -> Bytes:
    return x.astype("<f2").view(np.uint8)


def _decode_bf16(blocks: Bytes) -> Floats:
    bits = np.ascontiguousarray(blocks).view("<u2").astype(np.uint32) << np.uint32(16)
    return bits.view(np.float32)


def _encode_bf16(x: Floats) -> Bytes:
    """Round to nearest even; a NaN keeps its upper bits and becomes quiet."""
    bits = x.view(np.uint32)
    upper = bits >> np.uint32(16)
    rounded = (bits + np.uint32(0x7FFF) + (upper & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), upper | np.uint32(64), rounded).astype("<u2").view(np.uint8)


F32 = Format("F32", 0, 1, 4, _decode_f32, _encode_f32, keeps_nonfinite=True)
F16 = Format("F16", 1, 1, 2, _decode_f16, _encode_f16, keeps_nonfinite=True)
BF16 = Format("BF16", 30, 1, 2, _decode_bf16, _encode_bf16, keeps_nonfinite=True)
