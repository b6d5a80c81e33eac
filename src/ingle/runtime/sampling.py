"""Owns drawing the next token from logits. The same seed draws the same tokens on any machine.

Order of the filters: temperature, top_k, top_p (Holtzman et al. 2020), as in transformers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingle.runtime.request import SamplingParams


class Sampler:
    """Draws for one request; holds its random state."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        self._random = np.random.Generator(np.random.PCG64(params.seed))

    def draw(self, logits: NDArray[np.float32]) -> int:
        """A token id from float32 (vocab_size,). Ties go to the lower id."""
        if self.params.temperature == 0 or self.params.top_k == 1:
            return int(np.argmax(logits))
        ids, probabilities = distribution(logits, self.params)
        cumulative = np.cumsum(probabilities)
        chosen = np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        return int(ids[min(int(chosen), len(ids) - 1)])


def distribution(
    logits: NDArray[np.float32], params: SamplingParams
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The ids that may be drawn, and their probabilities (float64, summing to 1)."""
    scaled = logits.astype(np.float64) / params.temperature
    ids = np.arange(len(scaled))
    if 0 < params.top_k < len(scaled):
        ids = np.sort(np.argpartition(-scaled, params.top_k - 1)[: params.top_k])
    weights = np.exp(scaled[ids] - scaled[ids].max())
    probabilities = weights / weights.sum()
    if params.top_p < 1:
        order = np.argsort(-probabilities, kind="stable")
        before = np.cumsum(probabilities[order]) - probabilities[order]
        kept = np.sort(order[before < params.top_p])
        ids, probabilities = ids[kept], probabilities[kept] / probabilities[kept].sum()
    return ids, probabilities
