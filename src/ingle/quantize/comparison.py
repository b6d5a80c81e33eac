"""Owns comparing number formats on one matrix: bits, scale scheme, and the error that is measured.

INT4 and INT8 are stored as checkpoints store them, codes beside scales, and FP8 with one scale per
tensor; the others are blocks. It does not know files, nor how a comparison is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.numerics import FORMATS, decode, encode
from ingle.numerics.e2m1 import DOUBLED
from ingle.numerics.int8 import dequantize, quantize
from ingle.numerics.iq4 import CODEBOOK
from ingle.quantize.encode import ENCODABLE, decode_rows, encode_rows

Floats = NDArray[np.float32]

RANGE_BINS = 12
_BIN_COLUMNS = 32  # weights whose range decides the bin


@dataclass(frozen=True)
class Candidate:
    """A way to store weights. scales: in words. bits(columns): stored bits per weight of such rows.

    block: weights that a row must be whole multiples of. restore: weights after storing them.
    """

    name: str
    scales: str
    block: int
    bits: Callable[[int], float]
    restore: Callable[[Floats, int], Floats]


@dataclass(frozen=True)
class Measured:
    """One format on one matrix. mse: mean squared error. snr_db: 10 log10 of mean square over mse.

    by_range: relative error (root of error energy over energy) of blocks of 32 by their range, in
    `RANGE_BINS` bins of equal numbers of blocks. why_not: why nothing was measured, else "".
    """

    name: str
    bits_per_weight: float
    scales: str
    mse: float = 0.0
    snr_db: float = 0.0
    cosine: float = 0.0
    by_range: tuple[float, ...] = ()
    why_not: str = ""

    @property
    def compression(self) -> float:
        """Times smaller than FP16."""
        return 16.0 / self.bits_per_weight


def compare(weights: Floats, threads: int = 1, names: Sequence[str] = ()) -> list[Measured]:
    """All formats (or those of `names`) on a matrix (rows, columns), by bits, most first.

    Raises IngleError for an unknown name, and for weights that are not finite.
    """
    if not np.isfinite(weights).all():
        raise IngleError("tensor", "weights must be finite, but got others")
    unknown = set(names) - {one.name for one in CANDIDATES}
    if unknown:
        known = ", ".join(one.name for one in CANDIDATES)
        raise IngleError("formats", f"it must be of {known}, but got {sorted(unknown)[0]!a:.40}")
    chosen = [one for one in CANDIDATES if not names or one.name in names]
    bins = range_bins(weights)
    measured = [_measured(one, weights, threads, bins) for one in chosen]
    return sorted(measured, key=lambda one: -one.bits_per_weight)


def range_bins(weights: Floats) -> NDArray[np.intp]:
    """Bin of each block of 32, by rank of its largest magnitude; (blocks,)."""
    blocks = _blocks(weights)
    ranks = np.argsort(np.argsort(np.abs(blocks).max(axis=1), kind="stable"), kind="stable")
    bins: NDArray[np.intp] = ranks * RANGE_BINS // max(len(blocks), 1)
    return bins


def grids() -> dict[str, Floats]:
    """Values that codes of a block can take, as shares of the largest magnitude."""
    e4m3 = decode(FORMATS["F8_E4M3"], np.arange(256, dtype=np.uint8)[:, None])[:, 0]
    finite = e4m3[np.isfinite(e4m3)]
    steps: dict[str, NDArray[Any]] = {
        "INT8": np.arange(-127, 128),
        "FP8 E4M3": finite,
        "INT4": np.arange(-7, 8),
        "Q4_0": np.arange(-8, 8),
        "Q4_1": np.arange(16) - 7.5,
        "IQ4_NL": CODEBOOK,
        "MXFP4, NVFP4": DOUBLED,
        "Q3_K": np.arange(-4, 4),
        "Q2_K": np.arange(4) - 1.5,
    }
    return {
        name: np.unique(values.astype(np.float32) / np.float32(np.abs(values).max()))
        for name, values in steps.items()
    }


def _measured(one: Candidate, weights: Floats, threads: int, bins: NDArray[np.intp]) -> Measured:
    columns = weights.shape[1]
    if columns % one.block:
        why_not = f"rows of {columns} are not whole blocks of {one.block}"
        return Measured(
            one.name, one.bits(columns // one.block * one.block), one.scales, why_not=why_not
        )
    restored = one.restore(weights, threads)
    error = (restored - weights).astype(np.float64)
    energy, lost = _energy(weights), _energy(error)
    norm = np.sqrt(energy * _energy(restored))
    product = float(np.vdot(weights.astype(np.float64), restored.astype(np.float64)))
    return Measured(
        one.name,
        one.bits(columns),
        one.scales,
        lost / weights.size,
        float(10 * np.log10(energy / lost)) if lost and energy else float("inf"),
        float(product / norm) if norm else 1.0,
        _by_range(weights, error, bins),
    )


def _by_range(
    weights: Floats, error: NDArray[np.float64], bins: NDArray[np.intp]
) -> tuple[float, ...]:
    energy, lost = (
        np.bincount(bins, (_blocks(x).astype(np.float64) ** 2).sum(axis=1), RANGE_BINS)
        for x in (weights, error)
    )
    return tuple(np.sqrt(lost / np.where(energy > 0, energy, 1)).tolist())


def _blocks(x: NDArray[np.floating]) -> NDArray[np.floating]:
    whole = x.shape[1] // _BIN_COLUMNS * _BIN_COLUMNS
    return x[:, :whole].reshape(-1, _BIN_COLUMNS)


def _energy(x: NDArray[np.floating]) -> float:
    return float(np.square(x, dtype=np.float64).sum())


def _block_format(name: str, scales: str) -> Candidate:
    fmt = FORMATS[name]

    def restore(weights: Floats, threads: int) -> Floats:
        if name not in ENCODABLE:
            return decode(fmt, encode(fmt, weights))
        return decode_rows(name, encode_rows(name, weights, threads=threads))

    return Candidate(name, scales, fmt.block, lambda _: fmt.bits_per_weight, restore)


def _fp8(name: str, title: str, largest: float) -> Candidate:
    def restore(weights: Floats, _: int) -> Floats:
        scale = np.float32(np.abs(weights).max() / largest) or np.float32(1)
        restored: Floats = decode(FORMATS[name], encode(FORMATS[name], weights / scale)) * scale
        return restored

    return Candidate(title, "F32 per tensor", 1, lambda _: 8.0, restore)


def _int8(title: str, group: int | None, symmetric: bool) -> Candidate:
    def bits(columns: int) -> float:
        return 8 + (32 if symmetric else 40) / (group or max(columns, 1))

    def restore(weights: Floats, _: int) -> Floats:
        return dequantize(quantize(weights, group, symmetric))

    place = "row" if group is None else f"{group}"
    scales = f"F32 per {place}" + ("" if symmetric else " + zero point")
    return Candidate(title, scales, group or 1, bits, restore)


def _int4(title: str, group: int) -> Candidate:
    """Codes -8 to 7 of a scale that the largest magnitude sets (round to nearest), F16 scales."""

    def restore(weights: Floats, _: int) -> Floats:
        blocks = weights.reshape(-1, group)
        scale = (np.abs(blocks).max(axis=1, keepdims=True) / np.float32(7)).astype(np.float16)
        wide = np.where(scale > 0, scale, 1).astype(np.float32)
        codes = np.clip(np.rint(blocks / wide), -8, 7)
        restored: Floats = (codes * scale.astype(np.float32)).reshape(weights.shape)
        return restored

    return Candidate(title, f"F16 per {group}", group, lambda _: 4 + 16 / group, restore)


CANDIDATES: tuple[Candidate, ...] = (
    _block_format("F16", "none"),
    _block_format("BF16", "none"),
    _fp8("F8_E4M3", "FP8 E4M3", 448.0),
    _fp8("F8_E5M2", "FP8 E5M2", 57344.0),
    _int8("INT8", None, True),
    _int8("INT8 asym", None, False),
    _int8("INT8 g128", 128, True),
    _block_format("Q8_0", "F16 per 32"),
    _block_format("Q6_K", "F16 per 256, 8 bit per 16"),
    _block_format("Q5_1", "F16 + minimum per 32"),
    _block_format("Q5_0", "F16 per 32"),
    _block_format("Q5_K", "F16 per 256, 6 bit + minimum per 32"),
    _block_format("Q4_1", "F16 + minimum per 32"),
    _block_format("Q4_0", "F16 per 32"),
    _block_format("IQ4_NL", "F16 per 32, uneven codes"),
    _block_format("Q4_K", "F16 per 256, 6 bit + minimum per 32"),
    _block_format("NVFP4", "UE4M3 per 16"),
    _block_format("MXFP4", "E8M0 (power of 2) per 32"),
    _block_format("IQ4_XS", "F16 per 256, 6 bit per 32, uneven"),
    _int4("INT4 g32", 32),
    _int4("INT4 g128", 128),
    _block_format("Q3_K", "F16 per 256, 6 bit per 16"),
    _block_format("Q2_K", "F16 per 256, 4 bit + minimum per 16"),
)
