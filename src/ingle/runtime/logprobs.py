"""Owns log-probabilities of drawn tokens. They are the model's own: before temperature, penalties,
biases and filters, so that they can be compared between requests. It does not know text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingle.runtime.filters import top_k, weigh


@dataclass(frozen=True)
class TokenLogprobs:
    """A drawn token's natural log-probability, and the likeliest tokens with theirs, best first."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def token_logprobs(logits: NDArray[np.float32], token_id: int, count: int) -> TokenLogprobs:
    """The log-probability of `token_id` and of the `count` likeliest; logits (vocab_size,)."""
    scores = logits.astype(np.float64)
    best = top_k(scores, count) if count else np.arange(0)
    best = best[np.argsort(-scores[best], kind="stable")]
    scores -= scores.max()
    log_total = math.log(weigh(scores)[0])
    top = tuple((int(i), float(scores[i]) - log_total) for i in best)
    return TokenLogprobs(token_id, float(scores[token_id]) - log_total, top)
