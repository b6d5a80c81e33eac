"""Owns INT8 arithmetic: ranges become scales and zero points, values become codes and come back.

Ranges are by minimum and maximum, by percentiles, or those that lose least (mean squared error
over a grid of smaller ranges). Arithmetic is that of compressed-tensors: a symmetric scale is the
largest magnitude over 127.5, codes -128 to 127, ties to even. It does not know models.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.numerics.int8_inputs import from_range

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]

PERCENT = 99.99
_SHRINKS = np.linspace(1.0, 0.5, 26)  # of the range, tried by "mse"


def ranges(x: Floats, calibration: str) -> tuple[Floats, Floats]:
    """Least and largest value to represent of each row (rows, n): (rows, 1) each."""
    if not np.isfinite(x).all():
        raise IngleError("INT8", "values must be finite, but got others")
    if calibration == "percentile":
        low = np.percentile(x, 100 - PERCENT, axis=1, keepdims=True)
        high = np.percentile(x, PERCENT, axis=1, keepdims=True)
    else:
        low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    return np.minimum(low, 0).astype(np.float32), np.maximum(high, 0).astype(np.float32)


def parameters(
    x: Floats, symmetric: bool, calibration: str, importance: Floats | None = None
) -> tuple[Floats, Floats]:
    """Scales and zero points (rows, 1) of rows (rows, n).

    importance: of each value, broadcast to x; it weighs errors where calibration is "mse".
    """
    low, high = ranges(x, calibration)
    scale, zero = from_range(low, high, symmetric)
    if calibration != "mse":
        return scale, zero
    weights = np.float32(1) if importance is None else importance
    best = np.full(scale.shape, np.inf)
    chosen: Floats = scale.copy()
    point: Floats = zero.copy()
    for shrink in _SHRINKS:
        tried, zeros = from_range(low * np.float32(shrink), high * np.float32(shrink), symmetric)
        error = np.square(rounded(x, tried, zeros) - x) * weights
        lost = error.sum(axis=1, keepdims=True, dtype=np.float64)
        better = lost < best
        best[better] = lost[better]
        chosen, point = np.where(better, tried, chosen), np.where(better, zeros, point)
    return chosen, point


def quantized(x: Floats, scale: Floats, zero: Floats) -> Codes:
    """Codes of values."""
    codes: Codes = np.clip(np.rint(x / scale + zero), -128, 127).astype(np.int8)
    return codes


def rounded(x: Floats, scale: Floats, zero: Floats) -> Floats:
    """Values after a stay in 8 bits."""
    codes = np.clip(np.rint(x / scale + zero), -128, 127)
    back: Floats = ((codes - zero) * scale).astype(np.float32)
    return back
