"""Sampling under a constraint: only what it allows, and the same ids however they are fed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.runtime import SamplingParams
from ingle.runtime.sampling import Sampler, distribution

VOCAB = 70


class Allow:
    """Allows the same ids at each place but those where one id must come."""

    def __init__(self, allowed: Sequence[int] | None, script: dict[int, int] | None = None) -> None:
        self.said: list[int] = []
        self._allowed, self._script = allowed, script or {}

    def mask(self) -> NDArray[np.uint8] | None:
        must = self._script.get(len(self.said))
        allowed = self._allowed if must is None else [must]
        if allowed is None:
            return None
        flags = np.zeros(VOCAB, np.bool_)
        flags[list(allowed)] = True
        return np.packbits(flags, bitorder="little")

    def advance(self, token_id: int) -> None:
        self.said.append(token_id)

    def forced(self) -> list[int]:
        ids = []
        while len(self.said) + len(ids) in self._script:
            ids.append(self._script[len(self.said) + len(ids)])
        return ids


def logits(seed: int, rows: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 3, (rows, VOCAB)).astype(np.float32)


params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.7, 1.0, 5.0]),
    top_p=st.sampled_from([1.0, 0.5]),
    top_k=st.sampled_from([0, 3]),
    min_p=st.sampled_from([0.0, 0.2]),
    typical_p=st.sampled_from([1.0, 0.6]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    seed=st.integers(0, 9),
)


@given(params, st.sets(st.integers(0, VOCAB - 1), min_size=1), st.integers(0, 99))
def test_draws_only_what_is_allowed(wish: SamplingParams, allowed: set[int], seed: int) -> None:
    constraint = Allow(sorted(allowed))
    sampler = Sampler(wish, VOCAB, constraint=constraint)
    drawn = [sampler.draw(row) for row in logits(seed, 8)]
    assert set(drawn) <= allowed
    assert constraint.said == drawn


@given(params, st.integers(0, 99))
def test_a_constraint_that_allows_all_changes_nothing(wish: SamplingParams, seed: int) -> None:
    rows = logits(seed, 8)
    free, unmasked = Sampler(wish, VOCAB), Sampler(wish, VOCAB, constraint=Allow(None))
    masked = Sampler(wish, VOCAB, constraint=Allow(range(VOCAB)))
    said = [[sampler.draw(row) for row in rows] for sampler in (free, unmasked, masked)]
    assert said[0] == said[1] == said[2]


def test_allowed_tokens_keep_their_proportions() -> None:
    row, allowed = logits(3)[0], [4, 9, 31, 60]
    sampler = Sampler(SamplingParams(seed=5), VOCAB, constraint=Allow(allowed))
    draws = np.bincount([sampler.draw(row) for _ in range(4000)], minlength=VOCAB) / 4000
    expected = distribution(row[allowed], SamplingParams())[1]
    assert np.abs(draws[allowed] - expected).max() < 0.03


@given(params, st.dictionaries(st.integers(0, 11), st.integers(0, 69)), st.integers(0, 99))
def test_forced_ids_are_those_that_would_be_drawn(
    wish: SamplingParams, script: dict[int, int], seed: int
) -> None:
    rows = logits(seed, 12)
    slow = Sampler(wish, VOCAB, constraint=Allow(range(VOCAB), script))
    one_by_one = [slow.draw(row) for row in rows]
    fast = Sampler(wish, VOCAB, constraint=Allow(range(VOCAB), script))
    said: list[int] = []
    while len(said) < len(rows):
        said += [fast.draw(rows[len(said)]), *fast.forced()]
    assert said == one_by_one


def test_an_empty_mask_is_an_error_and_not_a_draw() -> None:
    with pytest.raises(IngleError, match="a token must be allowed next, but got none"):
        Sampler(SamplingParams(), VOCAB, constraint=Allow([])).draw(logits(0)[0])


def test_ids_beyond_the_mask_may_not_come() -> None:
    class Short(Allow):
        def mask(self) -> NDArray[np.uint8]:
            return np.array([0b101], np.uint8)

    sampler = Sampler(SamplingParams(seed=0), VOCAB, constraint=Short(None))
    assert {sampler.draw(logits(0)[0]) for _ in range(50)} == {0, 2}
