"""Owns how logits change before a token is drawn: biases, and penalties for what was said.

It keeps the count of what a generation has said so far. It does not know how tokens are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingle.runtime.request import SamplingParams


class Penalties:
    """The changes for one request, in the order bias, repetition, then frequency and presence.

    Repetition: Keskar et al. 2019 (CTRL) as in transformers, over prompt and answer. Frequency and
    presence: OpenAI's API reference, over the answer alone.
    """

    def __init__(
        self, params: SamplingParams, vocab_size: int, prompt_ids: Sequence[int] = ()
    ) -> None:
        self._params = params
        self._bias_ids = np.array(list(params.logit_bias), np.intp)
        self._biases = np.array(list(params.logit_bias.values()), np.float64)
        self._repeats = params.repetition_penalty != 1
        self._counts = bool(params.presence_penalty or params.frequency_penalty)
        self._seen = np.zeros(vocab_size if self._repeats else 0, np.bool_)
        self._said = np.zeros(vocab_size if self._counts else 0, np.int64)
        if self._repeats:
            self._seen[np.asarray(prompt_ids, np.intp)] = True

    def note(self, token: int) -> None:
        """Counts `token` as part of the answer."""
        if self._repeats:
            self._seen[token] = True
        if self._counts:
            self._said[token] += 1

    def apply(self, logits: NDArray[np.float64]) -> None:
        """Changes logits (vocab_size,) in place."""
        logits[self._bias_ids] += self._biases
        if self._repeats:
            seen, penalty = np.flatnonzero(self._seen), self._params.repetition_penalty
            values = logits[seen]
            logits[seen] = np.where(values < 0, values * penalty, values / penalty)
        if self._counts:
            said = np.flatnonzero(self._said > 0)
            logits[said] -= self._params.frequency_penalty * self._said[said]
            logits[said] -= self._params.presence_penalty
