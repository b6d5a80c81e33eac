"""Owns what calibration remembers of one layer's inputs: a sample of rows, their extremes.

Memory is bounded whatever the length of the text. It does not know how inputs are obtained.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingle.numerics.int8_inputs import from_range
from ingle.quantize.int8.codes import parameters

Floats = NDArray[np.float32]

KEPT_ROWS = 192  # of each layer, taken evenly from the text so far


class Observer:
    """Inputs (n, columns) of one linear layer, seen bit by bit."""

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0
        self.squares: NDArray[np.float64] = np.zeros(0)
        self.num_rows = 0
        self._kept: list[Floats] = []
        self._stride = 1

    def add(self, x: Floats) -> None:
        """More inputs."""
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        squares = np.square(x, dtype=np.float64).sum(axis=0)
        self.squares = squares if not self.num_rows else self.squares + squares
        first = -self.num_rows % self._stride
        self._kept += [row.copy() for row in x[first :: self._stride]]
        self.num_rows += len(x)
        while len(self._kept) > KEPT_ROWS:
            self._kept = self._kept[::2]
            self._stride *= 2

    @property
    def rows(self) -> Floats:
        """The sample (kept, columns)."""
        return np.stack(self._kept)

    @property
    def importance(self) -> Floats:
        """Mean squares (1, columns)."""
        return (self.squares / max(self.num_rows, 1)).astype(np.float32)[None]

    def parameters(self, symmetric: bool, calibration: str) -> tuple[float, float]:
        """Scale and zero point of all inputs together. minmax is of all rows seen, percentiles and
        errors are of the sample."""
        if calibration == "minmax":
            low, high = (np.full((1, 1), value, np.float32) for value in (self.low, self.high))
            scale, zero = from_range(low, high, symmetric)
        else:
            scale, zero = parameters(self.rows.reshape(1, -1), symmetric, calibration)
        return float(scale[0, 0]), float(zero[0, 0])
