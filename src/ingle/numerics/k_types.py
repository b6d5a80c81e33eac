"""Owns decoding of the K-types: super-blocks of 256 weights with quantized sub-block scales.

The products are associated as GGML does (d * scale first). Encoding is a search and lives with the
quantizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingle.numerics.format import Bytes, Floats, Format
from ingle.numerics.half import read_half

_PAIR_SHIFTS = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
_NIBBLE_SHIFTS = np.array([0, 4], np.uint8).reshape(1, 1, 2, 1)
_BIT_SHIFTS = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)


def _pairs(packed: Bytes) -> Bytes:
    """2-bit codes (n, 2, 4, 32) of bytes (n, 64): each half of 32 bytes holds four runs."""
    return (packed.reshape(-1, 2, 1, 32) >> _PAIR_SHIFTS) & np.uint8(3)


def _bit_planes(packed: Bytes) -> Bytes:
    """Bit k of every byte, as run k: (n, 32) -> (n, 8, 32)."""
    return (packed[:, None, :] >> _BIT_SHIFTS) & np.uint8(1)


class Integers(NamedTuple):
    """What blocks (n, ...) hold: codes (n, 256), scales and minimums (n, runs) of equal runs.

    A weight is scale * code - minimum.
    """

    codes: NDArray[np.integer[Any]]
    scales: Floats
    minimums: Floats | None = None

    def decode(self) -> Floats:
        """Weights (n, 256)."""
        n, runs = self.scales.shape
        y: Floats = self.codes.reshape(n, runs, 256 // runs).astype(np.float32)
        y *= self.scales[:, :, None]
        if self.minimums is not None:
            y -= self.minimums[:, :, None]
        return y.reshape(n, 256)


def _q2_k(blocks: Bytes) -> Integers:
    """u8 scales[16]; qs[64]; f16 d; f16 dmin."""
    packed = blocks[:, :16]
    scale = read_half(blocks, 80) * (packed & np.uint8(15)).astype(np.float32)
    low = read_half(blocks, 82) * (packed >> np.uint8(4)).astype(np.float32)
    return Integers(_pairs(blocks[:, 16:80]).reshape(-1, 256), scale, low)


def _q3_scales(packed: Bytes) -> Floats:
    """Sixteen signed 6-bit scales of 12 bytes."""
    low = np.concatenate([packed[:, :8] & np.uint8(15), packed[:, :8] >> np.uint8(4)], axis=1)
    high = (packed[:, None, 8:] >> _PAIR_SHIFTS[0]) & np.uint8(3)
    six_bits = low | (high.reshape(-1, 16) << np.uint8(4))
    signed: NDArray[np.int8] = six_bits.view(np.int8) - np.int8(32)
    return signed.astype(np.float32)


def _q3_k(blocks: Bytes) -> Integers:
    """hmask[32]; qs[64]; scales[12]; f16 d. A clear bit of hmask subtracts 4."""
    scale = read_half(blocks, 108) * _q3_scales(blocks[:, 96:108])
    high = _bit_planes(blocks[:, :32]).view(np.int8)
    codes = _pairs(blocks[:, 32:96]).reshape(-1, 8, 32).view(np.int8)
    codes += high * np.int8(4) - np.int8(4)
    return Integers(codes.reshape(-1, 256), scale)


def _scales_and_mins(packed: Bytes) -> tuple[Floats, Floats]:
    """Eight 6-bit scales and eight 6-bit minimums of 12 bytes (Q4_K, Q5_K)."""
    a, b, c = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    six, four, top = np.uint8(63), np.uint8(15), np.uint8(6)
    scales = np.concatenate([a & six, (c & four) | (a >> top << np.uint8(4))], axis=1)
    mins = np.concatenate([b & six, (c >> np.uint8(4)) | (b >> top << np.uint8(4))], axis=1)
    return scales.astype(np.float32), mins.astype(np.float32)


def _q45_k(blocks: Bytes, codes: Bytes) -> Integers:
    scales, mins = _scales_and_mins(blocks[:, 4:16])
    scale, low = read_half(blocks, 0) * scales, read_half(blocks, 2) * mins
    return Integers(codes.reshape(-1, 256), scale, low)


def _nibble_runs(packed: Bytes) -> Bytes:
    """4-bit codes (n, 8, 32) of bytes (n, 128): 32 bytes hold two runs."""
    codes = (packed.reshape(-1, 4, 1, 32) >> _NIBBLE_SHIFTS) & np.uint8(15)
    return codes.reshape(-1, 8, 32)


def _q4_k(blocks: Bytes) -> Integers:
    """f16 d; f16 dmin; scales[12]; qs[128]."""
    return _q45_k(blocks, _nibble_runs(blocks[:, 16:]))


def _q5_k(blocks: Bytes) -> Integers:
    """f16 d; f16 dmin; scales[12]; qh[32]; qs[128]."""
    fifth = _bit_planes(blocks[:, 16:48]) << np.uint8(4)
    return _q45_k(blocks, _nibble_runs(blocks[:, 48:]) | fifth)


def _q6_k(blocks: Bytes) -> Integers:
    """ql[128]; qh[64]; int8 scales[16]; f16 d."""
    low = (blocks[:, :128].reshape(-1, 2, 1, 64) >> _NIBBLE_SHIFTS) & np.uint8(15)
    codes = low.reshape(-1, 2, 4, 32) | (_pairs(blocks[:, 128:192]) << np.uint8(4))
    scale = read_half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    return Integers((codes.view(np.int8) - np.int8(32)).reshape(-1, 256), scale)


def _format(name: str, ggml_id: int, block_bytes: int) -> Format:
    return Format(name, ggml_id, 256, block_bytes, lambda blocks: INTEGERS[name](blocks).decode())


# Of each format: what uint8 (n, block bytes) hold.
INTEGERS: dict[str, Callable[[Bytes], Integers]] = {
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}

Q2_K = _format("Q2_K", 10, 84)
Q3_K = _format("Q3_K", 11, 110)
Q4_K = _format("Q4_K", 12, 144)
Q5_K = _format("Q5_K", 13, 176)
Q6_K = _format("Q6_K", 14, 210)
