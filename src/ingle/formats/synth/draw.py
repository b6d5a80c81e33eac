"""Owns random weights: repeatable, fast, and the same model in every number format.

A matrix is cut out of a pool of normal numbers: its rows are windows of the pool at different
places, so that a number is drawn and encoded once and copied many times. It does not know models.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingle.formats.mapping import Bytes
from ingle.numerics import FORMATS, Format, decode, encode

Floats = NDArray[np.float32]
UNIT = 32  # weights; windows begin at multiples of it in every format
_MIN_POOL_UNITS = 1 << 12
_PIECE_BYTES = 4 << 20


class Draw(Protocol):
    """Rows of weights that a seed decides."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def columns(self) -> int:
        """Weights of a row."""

    def pieces(self, seed: int, fmt: Format, rows: slice) -> Iterator[Bytes]:
        """Encoded rows uint8 (n, row_bytes), in order, a few MiB at a time."""


@dataclass(frozen=True)
class Normal:
    """Matrix (rows, columns) of N(mean, std^2), every row different.

    Values are those of bfloat16, so that BF16 and F32 files hold the same numbers and a block
    format is the rounding of them. key: draws of different keys are independent.
    """

    key: str
    rows: int
    columns: int
    std: float
    mean: float = 0.0

    def pieces(self, seed: int, fmt: Format, rows: slice) -> Iterator[Bytes]:
        """See `Draw`."""
        windows, starts = _windows(self, seed, fmt)
        step = max(1, _PIECE_BYTES // windows.itemsize)
        chosen = starts[rows]
        for first in range(0, len(chosen), step):
            piece = windows[chosen[first : first + step]]
            yield piece.view(np.uint8).reshape(-1, windows.itemsize)


@dataclass(frozen=True)
class Made:
    """A small matrix (rows, columns) or vector (1, columns) that a function makes of randomness."""

    key: str
    rows: int
    columns: int
    make: Callable[[np.random.Generator], NDArray[np.floating]]

    def pieces(self, seed: int, fmt: Format, rows: slice) -> Iterator[Bytes]:
        """See `Draw`."""
        values = np.asarray(self.make(generator(seed, self.key)), np.float32)
        bf16 = FORMATS["BF16"]
        yield encode(fmt, decode(bf16, encode(bf16, values.reshape(self.rows, self.columns)))[rows])


def generator(seed: int, key: str) -> np.random.Generator:
    """Randomness of a key under a seed, the same in every process."""
    return np.random.Generator(np.random.SFC64([seed, zlib.crc32(key.encode())]))


@lru_cache(maxsize=4)  # one tensor may take even rows and the next one odd rows
def _windows(draw: Normal, seed: int, fmt: Format) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """All rows that can be cut out of a draw's pool, and which of them are the draw's."""
    rng = generator(seed, draw.key)
    width = -(-draw.columns // UNIT)
    units = max(_MIN_POOL_UNITS, draw.rows) + width
    pool = encode(fmt, _bfloat16(rng.standard_normal((units, UNIT), np.float32), draw))
    row_bytes = draw.columns * fmt.block_bytes // fmt.block
    windows: NDArray[np.void] = np.ndarray(
        (units - width + 1,), np.dtype((np.void, row_bytes)), pool, strides=(pool.shape[1],)
    )
    return windows, rng.permutation(len(windows))[: draw.rows]


def _bfloat16(noise: Floats, draw: Normal) -> Floats:
    noise *= np.float32(draw.std)
    noise += np.float32(draw.mean)
    return decode(FORMATS["BF16"], encode(FORMATS["BF16"], noise))
