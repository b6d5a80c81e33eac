"""Owns drawing the next token from logits.

The same logits and seed draw the same token by any number of threads and on any machine: random
bits come from PCG64 (O'Neill 2014), sums are float64 in a fixed order. (Machines may differ in the
last bit of an exp, which moves a draw once in some 10^12.) Order of the steps: bias and penalties,
constraint, temperature, top_k, top_p, min_p, typical_p; as in transformers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.ops import TokenConstraint
from ingle.runtime.filters import Indices, Scores, filters_of
from ingle.runtime.penalties import Penalties
from ingle.runtime.request import SamplingParams

_RUN = 512  # weights summed on their own, so that one run and not the vocabulary is searched


class Sampler:
    """Draws for one request; holds its random state and what it has drawn."""

    def __init__(
        self,
        params: SamplingParams,
        vocab_size: int,
        prompt_ids: Sequence[int] = (),
        constraint: TokenConstraint | None = None,
    ) -> None:
        self.params = params
        self._constraint = constraint
        self._penalties = Penalties(params, vocab_size, prompt_ids)
        self._random = np.random.PCG64(params.seed)
        self._scores = np.empty(vocab_size, np.float64)

    def draw(self, logits: NDArray[np.float32]) -> int:
        """A token id from float32 (vocab_size,). Ties of the likeliest go to the lower id.

        Raises IngleError when no token has a finite logit, or one has NaN or +infinity, and when
        the constraint allows none.
        """
        self._scores[:] = logits
        self._penalties.apply(self._scores)
        allowed = self._hold_back()
        if allowed is None:
            token = self._draw(self._scores)
        else:
            token = int(allowed[self._draw(self._scores[allowed])])
        self._note(token)
        return token

    def forced(self) -> list[int]:
        """The ids that the constraint lets come next without a choice; they count as drawn.

        They need no logits, so a caller may run them together; one who wants each token's logits
        calls `draw` instead, which draws the same.
        """
        ids = [] if self._constraint is None else list(self._constraint.forced())
        for token in ids:
            self._note(token)
        return ids

    def _note(self, token: int) -> None:
        self._penalties.note(token)
        if self._constraint is not None:
            self._constraint.advance(token)

    def _hold_back(self) -> Indices | None:
        """The ids that the constraint allows, ascending; None for all whose score is finite.

        Where most are allowed, the rest gets a score of -infinity, which costs less.
        """
        bits = None if self._constraint is None else self._constraint.mask()
        if bits is None:
            return None
        flags = np.unpackbits(bits, count=len(self._scores), bitorder="little")
        count = int(np.count_nonzero(flags))
        if 2 * count > len(flags):
            self._scores[np.flatnonzero(flags == 0)] = -math.inf
            return None
        if not count:
            rule = "a token must be allowed next, but got none"
            raise IngleError("constraint", rule, "the model's vocabulary may lack what is asked")
        return np.flatnonzero(flags.view(np.bool_))

    def _draw(self, logits: Scores) -> int:
        likeliest = int(np.argmax(logits))
        if not math.isfinite(logits[likeliest]):
            rule = f"the likeliest token must have a finite logit, but got {logits[likeliest]}"
            raise IngleError("logits", rule, "the model's file may be damaged")
        if self.params.temperature == 0 or self.params.top_k == 1 or len(logits) == 1:
            return likeliest
        ids, scores = _survivors(logits, self.params)
        chosen = pick(np.exp(scores, out=scores), self._uniform())
        return chosen if ids is None else int(ids[chosen])

    def _uniform(self) -> float:
        """The next number of the request's stream, in [0, 1) with 53 bits."""
        return float((int(self._random.random_raw()) >> 11) * 2.0**-53)


def distribution(logits: NDArray[np.float32], params: SamplingParams) -> tuple[Indices, Scores]:
    """The ids that may be drawn from unchanged logits, and their probabilities (float64)."""
    ids, scores = _survivors(logits.astype(np.float64), params)
    weights = np.exp(scores)
    return np.arange(len(scores)) if ids is None else ids, weights / weights.sum()


def pick(weights: Scores, uniform: float) -> int:
    """The index at which the running sum of `weights` first exceeds `uniform` of its total."""
    runs = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), _RUN)))
    goal = uniform * runs[-1]
    run = _first_above(runs, goal)
    inside = np.cumsum(weights[run * _RUN : (run + 1) * _RUN])
    return run * _RUN + _first_above(inside, goal - (runs[run - 1] if run else 0.0))


def _survivors(scores: Scores, params: SamplingParams) -> tuple[Indices | None, Scores]:
    """Ids that may be drawn (None: all) and their logits over the temperature, the largest 0.

    Overwrites `scores`.
    """
    scores -= scores.max()
    with np.errstate(over="ignore"):  # a tiny temperature makes the rest impossible
        scores /= params.temperature
    ids: Indices | None = None
    for keep in filters_of(params):
        kept = keep(scores)
        ids = kept if ids is None else ids[kept]
        scores = scores[kept]
    scores -= scores.max()
    return ids, scores


def _first_above(sums: Scores, goal: float) -> int:
    """Index of the first of ascending `sums` above `goal`; of the last that grew, failing that."""
    found = np.searchsorted(sums, goal, side="right")
    return int(min(found, np.searchsorted(sums, sums[-1], side="left")))
