"""Owns Q4_0, Q4_1, Q5_0 and Q5_1: 32 codes of 4 or 5 bits under a float16 scale (and minimum).

The encoders are GGML's unweighted ones; searches guided by an importance matrix live elsewhere.
The fifth bits are a little-endian u32 whose bit i belongs to element i.
"""

from __future__ import annotations

import numpy as np

from ingle.numerics.format import Bytes, Floats, Format
from ingle.numerics.half import half_bytes, read_half
from ingle.numerics.nibbles import join_nibbles, split_nibbles
from ingle.numerics.q8_0 import reciprocal


def _fifth_bits(qh: Bytes) -> Bytes:
    """Value 0 or 16 of every element: (blocks, 4) -> (blocks, 32)."""
    return np.unpackbits(qh, axis=1, bitorder="little") << np.uint8(4)


def _decode_q4_0(blocks: Bytes) -> Floats:
    codes = split_nibbles(blocks[:, 2:]).view(np.int8) - np.int8(8)
    return read_half(blocks, 0) * codes.astype(np.float32)


def _decode_q4_1(blocks: Bytes) -> Floats:
    codes = split_nibbles(blocks[:, 4:]).astype(np.float32)
    return read_half(blocks, 0) * codes + read_half(blocks, 2)


def _decode_q5_0(blocks: Bytes) -> Floats:
    codes = split_nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])
    return read_half(blocks, 0) * (codes.view(np.int8) - np.int8(16)).astype(np.float32)


def _decode_q5_1(blocks: Bytes) -> Floats:
    codes = split_nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return read_half(blocks, 0) * codes.astype(np.float32) + read_half(blocks, 2)


def _symmetric_codes(x: Floats, levels: int) -> tuple[Floats, Bytes]:
    """Scale (blocks, 1) and codes for `levels` codes centred on levels / 2.

    The largest magnitude (the first one on a tie) keeps its sign and becomes code 0, since
    the range of codes reaches one further down than up.
    """
    largest = np.take_along_axis(x, np.abs(x).argmax(axis=1, keepdims=True), axis=1)
    scale = largest / np.float32(-(levels // 2))
    codes = np.trunc(x * reciprocal(scale) + np.float32(levels / 2 + 0.5))
    return scale, np.minimum(codes, levels - 1).astype(np.uint8)


def _affine_codes(x: Floats, levels: int) -> tuple[Floats, Floats, Bytes]:
    """Scale and minimum (blocks, 1), and codes from the minimum (0) to the maximum."""
    low = x.min(axis=1, keepdims=True)
    scale = (x.max(axis=1, keepdims=True) - low) / np.float32(levels - 1)
    codes = np.trunc((x - low) * reciprocal(scale) + np.float32(0.5))
    return scale, low, np.minimum(codes, levels - 1).astype(np.uint8)


def _low_and_fifth(codes: Bytes) -> tuple[Bytes, Bytes]:
    """Packed low nibbles (blocks, 16) and fifth bits (blocks, 4) of 5-bit codes."""
    return (
        join_nibbles(codes & np.uint8(15)),
        np.packbits(codes >> np.uint8(4), axis=1, bitorder="little"),
    )


def _encode_q4_0(x: Floats) -> Bytes:
    scale, codes = _symmetric_codes(x, 16)
    return np.concatenate([half_bytes("Q4_0", scale), join_nibbles(codes)], axis=1)


def _encode_q4_1(x: Floats) -> Bytes:
    scale, low, codes = _affine_codes(x, 16)
    halves = half_bytes("Q4_1", scale), half_bytes("Q4_1", low)
    return np.concatenate([*halves, join_nibbles(codes)], axis=1)


def _encode_q5_0(x: Floats) -> Bytes:
    scale, codes = _symmetric_codes(x, 32)
    nibbles, fifth = _low_and_fifth(codes)
    return np.concatenate([half_bytes("Q5_0", scale), fifth, nibbles], axis=1)


def _encode_q5_1(x: Floats) -> Bytes:
    scale, low, codes = _affine_codes(x, 32)
    nibbles, fifth = _low_and_fifth(codes)
    halves = half_bytes("Q5_1", scale), half_bytes("Q5_1", low)
    return np.concatenate([*halves, fifth, nibbles], axis=1)


Q4_0 = Format("Q4_0", 2, 32, 18, _decode_q4_0, _encode_q4_0)
Q4_1 = Format("Q4_1", 3, 32, 20, _decode_q4_1, _encode_q4_1)
Q5_0 = Format("Q5_0", 6, 32, 22, _decode_q5_0, _encode_q5_0)
Q5_1 = Format("Q5_1", 7, 32, 24, _decode_q5_1, _encode_q5_1)
