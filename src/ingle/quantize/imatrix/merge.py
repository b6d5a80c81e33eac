"""Owns mixing importance matrices: of several texts, each with its say.

Without weights sums and counts are added, as llama.cpp adds them: a longer text has more say. With
weights each matrix's means are mixed, whatever the length of the text. It does not know files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ingle.errors import IngleError
from ingle.quantize.imatrix.table import Entry, Imatrix


@dataclass(frozen=True)
class Source:
    """A matrix to mix, what it is called, and its weight; None for all or for none."""

    name: str
    imatrix: Imatrix
    weight: float | None = None


def merge(sources: Sequence[Source]) -> Imatrix:
    """One matrix; its lineage tells every source with its weight.

    Raises IngleError when weights are missing, not positive, or shapes differ.
    """
    if len(sources) < 2:
        raise IngleError("merge", f"there must be two matrices or more, but got {len(sources)}")
    weights = _weights(sources)
    names = dict.fromkeys(name for source in sources for name in source.imatrix.entries)
    entries = {}
    for name in names:
        having = [
            (source.imatrix.entries[name], weight)
            for source, weight in zip(sources, weights, strict=True)
            if name in source.imatrix.entries
        ]
        entries[name] = _merged(name, having)
    return Imatrix(
        entries,
        tuple(dataset for source in sources for dataset in source.imatrix.datasets),
        sum(source.imatrix.num_chunks for source in sources),
        sources[0].imatrix.chunk_tokens,
        tuple(line for source in sources for line in _lineage(source)),
    )


def _weights(sources: Sequence[Source]) -> list[float | None]:
    weights = [source.weight for source in sources]
    given = [weight for weight in weights if weight is not None]
    if given and len(given) < len(weights):
        raise IngleError("merge", "all matrices or none must have a weight, but got some")
    for weight in given:
        if not (math.isfinite(weight) and weight > 0):
            raise IngleError("merge", f"weights must be positive numbers, but got {weight}")
    return weights


def _merged(name: str, having: Sequence[tuple[Entry, float | None]]) -> Entry:
    matrices = max(len(entry.counts) for entry, _ in having)
    entries = [(_replicated(name, entry, matrices), weight) for entry, weight in having]
    if len({entry.sums.shape for entry, _ in entries}) > 1:
        raise IngleError("merge", f"{name} must have one shape in all, but got several")
    counts = np.sum([entry.counts for entry, _ in entries], axis=0)
    if entries[0][1] is None:
        return Entry(np.sum([entry.sums for entry, _ in entries], axis=0), counts)
    total, share = np.zeros_like(entries[0][0].sums), np.zeros(matrices)
    for entry, weight in entries:
        assert weight is not None
        seen = entry.counts > 0
        total += weight * entry.sums / np.where(seen, entry.counts, 1)[:, None]
        share += weight * seen
    means = total / np.where(share > 0, share, 1)[:, None]
    return Entry(means * counts[:, None], counts)


def _replicated(name: str, entry: Entry, matrices: int) -> Entry:
    """An entry that counted all experts at once, as if each had been counted."""
    if len(entry.counts) == matrices:
        return entry
    if len(entry.counts) != 1 or entry.sums.shape[1] % matrices:
        raise IngleError("merge", f"{name} must have as many experts in all, but has not")
    return Entry(entry.sums.reshape(matrices, -1), np.repeat(entry.counts, matrices))


def _lineage(source: Source) -> list[str]:
    imatrix, weight = source.imatrix, source.weight
    said = "" if weight is None else f"{weight:g} of "
    texts = ", ".join(imatrix.datasets) or "unknown text"
    first = f"{said}{source.name}: {texts}, {imatrix.num_chunks} chunks"
    return [first, *(f"  {line}" for line in imatrix.lineage)]
