"""Owns Q6_0: 32 codes of 6 bits under a float16 scale, as ik_llama.cpp writes them (type id 133).

A block is f16 d, qh[8], qs[16]: low nibbles as in Q4_0; of element i the two high bits lie in byte
i % 8 of qh, at bit 0 (i < 8), 4 (i < 16), 2 (i < 24) or 6. It does not know the 256-wide Q6_K: this
one fits rows such as gpt-oss's 2,880 columns.
"""

from __future__ import annotations

import numpy as np

from ingle.numerics.format import Bytes, Floats, Format
from ingle.numerics.half import half_bytes, read_half
from ingle.numerics.nibbles import join_nibbles, split_nibbles
from ingle.numerics.q8_0 import reciprocal

_SHIFTS = np.array([[0], [4], [2], [6]], np.uint8)  # of each run of 8 elements


def high_pairs(qh: Bytes) -> Bytes:
    """The two high bits of every element, 0 to 3: (..., 8) -> (..., 32)."""
    pairs = qh[..., None, :] >> _SHIFTS & np.uint8(3)
    return pairs.reshape(*qh.shape[:-1], 32)


def _decode(blocks: Bytes) -> Floats:
    codes = split_nibbles(blocks[:, 10:]) | high_pairs(blocks[:, 2:10]) << np.uint8(4)
    return read_half(blocks, 0) * (codes.view(np.int8) - np.int8(32)).astype(np.float32)


def _encode(x: Floats) -> Bytes:
    """The largest magnitude becomes code 0 with its sign; then the scale is fitted to the codes.

    Least squares weighted by x^2, every sum in the order of the elements (j, j + 16) in float32.
    """
    largest = np.take_along_axis(x, np.abs(x).argmax(axis=1, keepdims=True), axis=1)
    start = (largest + np.float32(0)) / np.float32(-32)  # of zeros of any sign: -0, as there
    scaled = x * reciprocal(start)
    codes = np.minimum(np.trunc(scaled + np.float32(32.5)), np.float32(63)).astype(np.uint8)
    scale = _fitted(x, scaled * scaled, codes.astype(np.float32) - np.float32(32), start)
    pairs = (codes >> np.uint8(4)).reshape(-1, 4, 8) << _SHIFTS
    qh = np.bitwise_or.reduce(pairs, axis=1)
    return np.concatenate(
        [half_bytes("Q6_0", scale), qh, join_nibbles(codes & np.uint8(15))], axis=1
    )


def _fitted(x: Floats, weight: Floats, level: Floats, start: Floats) -> Floats:
    """sum(weight x level) / sum(weight level^2), or `start` (blocks, 1) where there is nothing."""
    products, squares = weight * x * level, weight * level * level
    along, square = np.zeros_like(start[:, 0]), np.zeros_like(start[:, 0])
    for j in range(16):
        along = along + (products[:, j] + products[:, j + 16])
        square = square + (squares[:, j] + squares[:, j + 16])
    fitted = np.where(square > 0, along / square, start[:, 0])
    return fitted[:, None]


Q6_0 = Format("Q6_0", 133, 32, 26, _decode, _encode)
