"""Owns how a checkpoint of 8-bit weights rounds what enters them: Q(x) = round(x / scale) + zero
point, codes -128 to 127, in the arithmetic of compressed-tensors.

A symmetric scale is the largest magnitude over 127.5, so a row's largest value lies on a tie, which
its last bit decides. It does not know models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class InputRounding:
    """dynamic: each row by its own range; else all by `scale` and `zero_point`."""

    dynamic: bool
    symmetric: bool
    scale: float = 1.0
    zero_point: float = 0.0

    def parameters(self, x: Floats) -> tuple[Floats, Floats]:
        """Scales and zero points (rows, 1) for rows (rows, n)."""
        if self.dynamic:
            low = np.minimum(x.min(axis=-1, keepdims=True), np.float32(0))
            high = np.maximum(x.max(axis=-1, keepdims=True), np.float32(0))
            return from_range(low, high, self.symmetric)
        one: Floats = np.ones((len(x), 1), np.float32)
        return one * np.float32(self.scale), one * np.float32(self.zero_point)

    def steps(self, x: Floats) -> tuple[Floats, Floats]:
        """Codes less the zero point (rows, n), whole numbers from -255 to 255; scales (rows, 1)."""
        scale, zero = self.parameters(x)
        return np.clip(np.rint(x / scale + zero), -128, 127) - zero, scale

    def apply(self, x: Floats) -> Floats:
        """Rows after a stay in 8 bits."""
        steps, scale = self.steps(x)
        return (steps * scale).astype(np.float32)


def from_range(low: Floats, high: Floats, symmetric: bool) -> tuple[Floats, Floats]:
    """Scale and zero point of a range that holds 0; a range of nothing has scale 1, and one of what
    is no number has none either."""
    if symmetric:
        scale: Floats = (np.maximum(-low, high) / np.float32(127.5)).astype(np.float32)
        zero: Floats = np.zeros(scale.shape, np.float32)
    else:
        scale = ((high - low) / np.float32(255)).astype(np.float32)
        safe = np.where(scale > 0, scale, np.float32(1))
        zero = np.clip(np.rint(-128 - low / safe), -128, 127).astype(np.float32)
    return np.where(scale == 0, np.float32(1), scale).astype(np.float32), zero
