"""Owns how often experts are chosen: uniformly, or skewed like Zipf's law.

Whatever the skew, inputs decide: logits vary from token to token, and biases only shift them.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

# With log-shares for biases, Gumbel noise would choose in proportion to shares (Plackett and Luce).
# Normal noise of this spread comes within a third of it for skews to 2 and up to 128 experts.
_LOGIT_STD = 1.8
_MOST = 0.45  # of tokens; a zero-mean logit is above any threshold less than half the time
_LEAST = 1e-6


@dataclass(frozen=True)
class Popularity:
    """Shares of `num_experts` experts in proportion to rank^-skew; 0 is uniform."""

    num_experts: int
    num_experts_per_tok: int
    skew: float

    @property
    def logit_std(self) -> float:
        """Spread over tokens of an expert's router logit."""
        return _LOGIT_STD

    def biases(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Router biases (num_experts,): logarithms of the shares, in random order, mean 0."""
        logs = -self.skew * np.log(np.arange(1, self.num_experts + 1))
        return rng.permutation(logs - logs.mean())

    def row_scales(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """For a router without biases (num_experts,): an expert whose logits vary more is among
        the highest more often. 1 where the share is the average one."""
        shares = np.arange(1, self.num_experts + 1, dtype=np.float64) ** -self.skew
        chosen = np.clip(shares / shares.sum() * self.num_experts_per_tok, _LEAST, _MOST)
        mean = min(_MOST, self.num_experts_per_tok / self.num_experts)
        threshold = NormalDist().inv_cdf(1 - mean)
        return rng.permutation([threshold / NormalDist().inv_cdf(1 - p) for p in chosen.tolist()])
