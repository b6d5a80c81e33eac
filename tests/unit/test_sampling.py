"""Sampling: what may be drawn, how often, and that seeds repeat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ingle.errors import IngleError
from ingle.runtime.request import Request, SamplingParams
from ingle.runtime.sampling import Sampler, distribution

logits = arrays(np.float32, st.integers(1, 60), elements=st.floats(-30, 30, width=32))


@given(logits, st.floats(0.05, 5), st.integers(0, 70), st.floats(0.01, 1))
def test_filters_keep_the_most_likely(
    x: np.ndarray, temperature: float, top_k: int, top_p: float
) -> None:
    params = SamplingParams(temperature, top_p, top_k)
    ids, probabilities = distribution(x, params)
    assert probabilities.sum() == pytest.approx(1)
    assert len(ids) <= (top_k or len(x))
    dropped = np.setdiff1d(np.arange(len(x)), ids)
    if len(dropped):
        assert x[ids].min() >= x[dropped].max()
    full = np.exp((x.astype(np.float64) - x.max()) / temperature)
    expected = full[ids] / full[ids].sum()
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)


@given(logits)
def test_temperature_zero_takes_the_first_maximum(x: np.ndarray) -> None:
    assert Sampler(SamplingParams(temperature=0)).draw(x) == int(np.argmax(x))


def test_frequencies_follow_the_probabilities() -> None:
    x = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    sampler = Sampler(SamplingParams(seed=1))
    counts = np.bincount([sampler.draw(x) for _ in range(20_000)], minlength=3)
    np.testing.assert_allclose(counts / counts.sum(), [0.5, 0.3, 0.2], atol=0.02)


def test_a_seed_repeats_and_seeds_differ() -> None:
    x = np.zeros(1000, np.float32)
    draws = [[Sampler(SamplingParams(seed=s)).draw(x) for _ in range(1)] for s in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_k": -1}, {"seed": -1}],
)
def test_impossible_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(IngleError, match=next(iter(wrong))):
        SamplingParams(**wrong)  # type: ignore[arg-type]


def test_requests_need_a_prompt_and_room() -> None:
    with pytest.raises(IngleError, match="prompt"):
        Request([])
    with pytest.raises(IngleError, match="max_tokens"):
        Request([1], max_tokens=0)
