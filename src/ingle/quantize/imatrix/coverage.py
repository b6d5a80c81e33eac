"""Owns what an importance matrix saw: rows per expert, channels that stand out.

It does not know how it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingle.quantize.imatrix.table import Entry, Imatrix

HARDLY = 0.1  # of the mean rows of an expert
_LAYER = re.compile(r"blk\.(\d+)\.(.+?)(?:\.weight)?")


@dataclass(frozen=True)
class Coverage:
    """Of one weight. never, hardly: experts that saw no row, or less than a tenth of the mean.

    loudest: the columns of the largest mean squares, with how often the median they are.
    """

    name: str
    num_matrices: int
    columns: int
    rows: float
    never: tuple[int, ...]
    hardly: tuple[int, ...]
    loudest: tuple[tuple[int, float], ...]


def coverage(imatrix: Imatrix, loudest: int = 3) -> list[Coverage]:
    """One per entry, in the order of layers."""
    return [_one(name, imatrix.entries[name], loudest) for name in in_order(imatrix)]


def in_order(imatrix: Imatrix) -> list[str]:
    """Names by layer number, then by name; those of no layer come last."""
    return sorted(imatrix.entries, key=_place)


def expert_counts(imatrix: Imatrix) -> NDArray[np.float64]:
    """Rows that each expert saw (layers, experts), empty for a dense model."""
    counts = [
        imatrix.entries[name].counts
        for name in in_order(imatrix)
        if name.endswith("ffn_down_exps.weight")
    ]
    most = max(map(len, counts), default=0)
    if most < 2:
        return np.zeros((0, 0))
    return np.stack([np.pad(one, (0, most - len(one))) for one in counts])


def complaints(imatrix: Imatrix) -> Iterator[str]:
    """A line for each weight with experts that saw nothing or hardly anything."""
    for one in coverage(imatrix, 0):
        for word, experts in (("never", one.never), ("hardly", one.hardly)):
            if experts:
                yield f"{one.name}: experts {word} seen: {listed(experts)}"


def listed(numbers: tuple[int, ...], limit: int = 16) -> str:
    """The first of them, and how many more there are."""
    shown = ", ".join(map(str, numbers[:limit]))
    return shown if len(numbers) <= limit else f"{shown} and {len(numbers) - limit} more"


def _one(name: str, entry: Entry, loudest: int) -> Coverage:
    counts = entry.counts
    few = counts < HARDLY * counts.mean()
    seen = entry.sums[counts > 0]
    means = seen.sum(axis=0) / max(float(counts.sum()), 1.0)
    median = float(np.median(means)) or 1.0
    best = np.argsort(-means, kind="stable")[:loudest]
    return Coverage(
        name,
        len(counts),
        entry.sums.shape[1],
        float(counts.sum()),
        tuple(np.flatnonzero(counts == 0).tolist()),
        tuple(np.flatnonzero(few & (counts > 0)).tolist()),
        tuple((int(column), float(means[column]) / median) for column in best),
    )


def _place(name: str) -> tuple[float, str]:
    match = _LAYER.match(name)
    return (float(match[1]), match[2]) if match else (float("inf"), name)
