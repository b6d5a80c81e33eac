"""Owns the order of 4-bit codes in a block: byte j holds element j (low) and j + half (high).

It does not know what a code stands for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingle.numerics.format import Bytes

_SHIFTS = np.array([[0], [4]], np.uint8)


def split_nibbles(packed: Bytes) -> Bytes:
    """Codes (..., 2n) of packed bytes (..., n): all low nibbles, then all high ones."""
    codes = (packed[..., None, :] >> _SHIFTS) & np.uint8(15)
    return codes.reshape(*packed.shape[:-1], 2 * packed.shape[-1])


def join_nibbles(codes: NDArray[np.unsignedinteger]) -> Bytes:
    """Packed bytes (..., n) of codes (..., 2n) below 16; the inverse of `split_nibbles`."""
    half = codes.shape[-1] // 2
    low, high = codes[..., :half].astype(np.uint8), codes[..., half:].astype(np.uint8)
    return low | (high << np.uint8(4))
