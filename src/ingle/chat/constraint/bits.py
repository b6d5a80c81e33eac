"""Owns masks of token ids as bits, the form in which constraints hand them over."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]


def bits_of(ids: Iterable[int], size: int) -> Bits:
    """A mask of `size` ids that allows just `ids`, which lie below it: id i at bit i % 8.

    >>> bits_of([0, 9], 16).tolist()
    [1, 2]
    """
    bits = np.zeros(-(-size // 8), np.uint8)
    for i in ids:
        bits[i >> 3] |= 1 << (i & 7)
    return bits


def allows(bits: Bits, token_id: int) -> bool:
    """Whether a mask allows an id."""
    return token_id >> 3 < len(bits) and bool(bits[token_id >> 3] >> (token_id & 7) & 1)


def exchange(bits: Bits, old: int, new: int) -> None:
    """Allows `new` where `old` was allowed, and `old` no more."""
    if allows(bits, old):
        bits[old >> 3] ^= 1 << (old & 7)
        bits[new >> 3] |= 1 << (new & 7)
