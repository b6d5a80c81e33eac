"""Owns float32 fused multiply-add in numpy: correctly rounded, as every FMA instruction is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_HALFWAY_MASK = np.int64((1 << 29) - 1)  # float64 mantissa bits below float32's last
_HALFWAY = np.int64(1 << 28)


def fma(a: Floats | np.float32, b: Floats | np.float32, c: Floats | np.float32) -> Floats:
    """round(a * b + c) with one rounding; arrays broadcast.

    The product is exact in float64. Rounding the sum to float64 and then to float32 differs from
    one rounding only where the float64 sum lies exactly halfway between two float32 numbers; there
    the error of the first rounding (Knuth's TwoSum) decides.
    """
    product = np.multiply(a, b, dtype=np.float64)
    addend = np.asarray(c, np.float64)
    total = product + addend
    halfway = (total.view(np.int64) & _HALFWAY_MASK) == _HALFWAY
    if halfway.any():
        product, addend = (
            np.broadcast_to(product, total.shape),
            np.broadcast_to(addend, total.shape),
        )
        p, q, s = product[halfway], addend[halfway], total[halfway]
        back = s - p
        error = (p - (s - back)) + (q - back)
        total[halfway] = np.where(
            error > 0, np.nextafter(s, np.inf), np.where(error < 0, np.nextafter(s, -np.inf), s)
        )
    return total.astype(np.float32)


def fma_chain(a: Floats, b: Floats) -> Floats:
    """Folds a (n, ...) and b (n, ...) by fma from zero, index by index: (...)."""
    shape = np.broadcast_shapes(a.shape[1:], b.shape[1:])
    total = np.zeros(shape, np.float32)
    for x, y in zip(a, b, strict=True):
        total = fma(x, y, total)
    return total


def lane_sum(x: Floats) -> Floats:
    """Sums 16 lanes on the last axis: lane l with l + 8, then l + 4, l + 2, l + 1."""
    for half in (8, 4, 2, 1):
        x = x[..., :half] + x[..., half : 2 * half]
    return x[..., 0]
