"""Owns which tokens may be drawn: top-k, top-p, min-p, locally typical; each as in transformers.

A filter takes scores, float64 (n,) logits after the temperature of which the largest is 0, and
gives the indices it keeps, ascending and at least one. Ties go to the lower index, where
transformers keeps or drops them together. It does not know token ids.

A vocabulary is never sorted, nor is an array of its size made twice: a token has a millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ingle.runtime.request import SamplingParams

Scores = NDArray[np.float64]
Indices = NDArray[np.intp]
Filter = Callable[[Scores], Indices]

_PART = 1 << 13  # scores taken at a time: they stay in the cache
_RUN = 512  # scores of which only the maximum is compared at first
_FEW = 1 << 11  # scores that may be sorted
_LIMITS = (2.0, 4.0, 8.0, 16.0)  # distances, in nats, at which to look for enough weight
_HALVINGS = 40
_NOTHING = -800.0  # exp of it is 0


def filters_of(params: SamplingParams) -> list[Filter]:
    """The filters that `params` ask for, in the order of transformers' generate()."""
    wanted: list[Filter] = []
    if params.top_k:
        wanted.append(lambda scores: top_k(scores, params.top_k))
    if params.top_p < 1:
        wanted.append(lambda scores: top_p(scores, params.top_p))
    if params.min_p > 0:
        wanted.append(lambda scores: min_p(scores, params.min_p))
    if params.typical_p < 1:
        wanted.append(lambda scores: typical(scores, params.typical_p))
    return wanted


def top_k(scores: Scores, count: int) -> Indices:
    """The `count` largest (Fan et al. 2018)."""
    if count >= len(scores):
        return np.arange(len(scores))
    near = np.flatnonzero(scores >= _floor(scores, count))
    values = scores[near]
    least = np.partition(values, len(near) - count)[len(near) - count]
    above, ties = near[values > least], near[values == least]
    return np.sort(np.concatenate((above, ties[: count - len(above)])))


def top_p(scores: Scores, share: float) -> Indices:
    """The fewest of the largest whose probabilities reach `share` (Holtzman et al. 2020)."""
    total, _ = weigh(scores)
    return _nearest(scores, 0.0, share * total)


def min_p(scores: Scores, share: float) -> Indices:
    """Those at least `share` as likely as the likeliest (Nguyen et al. 2024)."""
    return np.flatnonzero(scores >= scores.max() + math.log(share))


def typical(scores: Scores, share: float) -> Indices:
    """The fewest that reach `share`, nearest to the entropy first (Meister et al. 2022).

    Surprise is the log of the total weight less the score, so the distance between a token's
    surprise and the entropy is that between its score and the mean score.
    """
    total, mean = weigh(scores)
    return _nearest(scores, mean, share * total)


def weigh(scores: Scores) -> tuple[float, float]:
    """The sum of exp(scores), and the mean score under these weights."""
    total, moment = 0.0, 0.0
    for start in range(0, len(scores), _PART):
        part = np.maximum(scores[start : start + _PART], _NOTHING)
        weights = np.exp(part)
        total += float(weights.sum())
        moment += float((weights * part).sum())
    return total, moment / total


def _floor(scores: Scores, count: int) -> float:
    """A score that at least `count` reach: the maxima of as many runs do."""
    runs = len(scores) // _RUN
    if count > runs:
        return -math.inf
    maxima = scores[: runs * _RUN].reshape(runs, _RUN).max(axis=1)
    return float(np.partition(maxima, runs - count)[runs - count])


def _nearest(scores: Scores, center: float, goal: float) -> Indices:
    """The fewest indices whose weights reach `goal`, taken by distance from `center`.

    Narrows down to a shell: what is nearer is all kept, what is farther is all dropped.
    """
    inner, held = -1.0, 0.0  # all up to this distance is kept; what it weighs
    near = np.arange(0)
    for outer in (*_LIMITS, math.inf):
        near = np.flatnonzero((scores >= center - outer) & (scores <= center + outer))
        reached = float(np.exp(scores[near]).sum())
        if reached >= goal:
            break
        inner, held = outer, reached
    distances = np.abs(scores[near] - center)
    kept = np.zeros(len(scores), np.bool_)
    kept[near[distances <= inner]] = True
    shell, distances = near[distances > inner], distances[distances > inner]
    weights = np.exp(scores[shell])
    for _ in range(_HALVINGS):
        if len(shell) <= _FEW:
            break
        middle = float(np.median(distances[:: len(distances) // _FEW]))
        within = distances <= middle
        reached = held + float(weights[within].sum())
        if reached < goal:
            kept[shell[within]], held = True, reached
            within = ~within
        shell, distances, weights = shell[within], distances[within], weights[within]
    order = np.argsort(distances, kind="stable")
    count = np.searchsorted(held + np.cumsum(weights[order]), goal, side="left") + 1
    kept[shell[order[:count]]] = True
    return np.flatnonzero(kept)
