"""Owns which tokens may be drawn: top-k, top-p, min-p, locally typical; each as in transformers.

A filter takes scores, float64 (n,) logits after the temperature of which the largest is 0, and
gives the indices it keeps, ascending and at least one. Ties go to the lower index, where
transformers keeps or drops them together. It does not know token ids.
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

_LIMITS = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # nats: where to look before sorting a vocabulary


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
    drop = len(scores) - count
    if drop <= 0:
        return np.arange(len(scores))
    least = np.partition(scores, drop)[drop]
    above = np.flatnonzero(scores > least)
    ties = np.flatnonzero(scores == least)[: count - len(above)]
    return np.sort(np.concatenate((above, ties)))


def top_p(scores: Scores, share: float) -> Indices:
    """The fewest of the largest whose probabilities reach `share` (Holtzman et al. 2020)."""
    return _nearest(-scores, np.exp(scores), share)


def min_p(scores: Scores, share: float) -> Indices:
    """Those at least `share` as likely as the likeliest (Nguyen et al. 2024)."""
    return np.flatnonzero(scores >= scores.max() + math.log(share))


def typical(scores: Scores, share: float) -> Indices:
    """The fewest that reach `share`, nearest to the entropy first (Meister et al. 2022)."""
    weights = np.exp(scores)
    total = weights.sum()
    surprise = math.log(total) - scores
    possible = weights > 0  # 0 * infinity is no part of an entropy
    entropy = (weights[possible] @ surprise[possible]) / total
    return _nearest(np.abs(surprise - entropy), weights, share)


def _nearest(distances: Scores, weights: Scores, share: float) -> Indices:
    """The fewest indices, by ascending distance, that hold `share` of all weight.

    Sorts only what lies within the first limit that holds enough.
    """
    goal = share * weights.sum()
    near = np.arange(0)
    for limit in (*_LIMITS, math.inf):
        near = np.flatnonzero(distances <= limit)
        if weights[near].sum() >= goal:
            break
    order = near[np.argsort(distances[near], kind="stable")]
    count = np.searchsorted(np.cumsum(weights[order]), goal, side="left") + 1
    return np.sort(order[:count])
