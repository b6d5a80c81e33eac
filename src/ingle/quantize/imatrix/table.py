"""Owns what an importance matrix is: sums of squares and counts, by GGUF name of the weight.

It does not know files, nor how the numbers were collected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError

Reals = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Entry:
    """Of one weight: sums of squares (num_matrices, columns) over the rows that went into each of
    its matrices, and how many rows those were (num_matrices,); a dense weight is one matrix."""

    sums: Reals
    counts: Reals

    def __post_init__(self) -> None:
        if self.sums.ndim != 2 or self.counts.shape != self.sums.shape[:1]:
            got = f"{self.sums.shape} and {self.counts.shape}"
            raise IngleError("imatrix", f"sums and counts must be of the same matrices, but {got}")

    @property
    def importance(self) -> Floats:
        """Mean squares float32 (num_matrices, columns); 1 for a matrix that saw nothing."""
        seen = self.counts > 0
        means = self.sums / np.where(seen, self.counts, 1)[:, None]
        return np.where(seen[:, None], means, 1.0).astype(np.float32)


@dataclass(frozen=True)
class Imatrix:
    """All entries, and where they come from.

    datasets: names of the texts. num_chunks, chunk_tokens: how much text. lineage: what was merged
    with which weight, one line each; empty for a matrix collected at once.
    """

    entries: Mapping[str, Entry]
    datasets: tuple[str, ...] = ()
    num_chunks: int = 0
    chunk_tokens: int = 512
    lineage: tuple[str, ...] = field(default=())

    def importance(self, name: str, shape: tuple[int, ...]) -> Floats | None:
        """Of a weight (rows, columns) or (experts, rows, columns): float32 (matrices, columns).

        None when the matrix knows no such weight. IngleError when it has another shape there, or
        numbers that are not finite.
        """
        entry = self.entries.get(name)
        if entry is None:
            return None
        wanted = (shape[0] if len(shape) == 3 else 1, shape[-1])
        got = entry.sums.shape
        if got != wanted and not (got[0] == 1 and got[1] == wanted[0] * wanted[1]):
            rule = f"importance of {name} must be {wanted} values, but got {got}"
            raise IngleError("imatrix", rule, "it was made for another model")
        found = entry.importance.reshape(wanted)
        if not np.isfinite(found).all():
            raise IngleError("imatrix", f"importance of {name} must be finite, but is not")
        return found
