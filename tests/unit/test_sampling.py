"""Sampling: what may be drawn, how often, that seeds repeat, that impossible wishes are refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ingle.errors import IngleError
from ingle.runtime.filters import filters_of
from ingle.runtime.logprobs import token_logprobs
from ingle.runtime.presets import PRESETS, preset, recommended
from ingle.runtime.request import MAX_LOGPROBS, Request, SamplingParams
from ingle.runtime.sampling import Sampler, distribution, pick

numbers = st.integers(-30 * 64, 30 * 64).map(lambda i: i / 64)  # differences stay exact
logits = arrays(np.float32, st.integers(1, 60), elements=numbers)
params = st.builds(
    SamplingParams,
    temperature=st.floats(0.05, 5),
    top_p=st.floats(0.01, 1),
    top_k=st.integers(0, 70),
    seed=st.integers(0, 2**64 - 1),
    min_p=st.floats(0, 1),
    typical_p=st.floats(0.01, 1),
    repetition_penalty=st.floats(0.5, 2),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
)


def softmax(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x - x.max())
    return weights / weights.sum()


@given(logits, st.floats(0.05, 5), st.integers(0, 70), st.floats(0.01, 1), st.floats(0, 1))
def test_filters_keep_the_most_likely(
    x: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    ids, probabilities = distribution(x, SamplingParams(temperature, top_p, top_k, min_p=min_p))
    assert probabilities.sum() == pytest.approx(1)
    assert 1 <= len(ids) <= (top_k or len(x))
    dropped = np.setdiff1d(np.arange(len(x)), ids)
    if len(dropped):
        assert x[ids].min() >= x[dropped].max()
    full = np.exp((x.astype(np.float64) - x.max()) / temperature)
    np.testing.assert_allclose(probabilities, full[ids] / full[ids].sum(), rtol=1e-6)


@given(logits, params)
def test_what_is_drawn_may_be_drawn(x: np.ndarray, p: SamplingParams) -> None:
    token = Sampler(p, len(x)).draw(x)
    assert token in distribution(x, p)[0]


@given(logits, params, st.lists(st.integers(0, 59), max_size=20))
def test_the_same_request_draws_the_same(x: np.ndarray, p: SamplingParams, said: list[int]) -> None:
    prompt = [i % len(x) for i in said]
    runs = [Sampler(p, len(x), prompt) for _ in range(2)]
    first, second = ([run.draw(x) for _ in range(5)] for run in runs)
    assert first == second


@given(logits)
def test_temperature_zero_takes_the_first_maximum(x: np.ndarray) -> None:
    assert Sampler(SamplingParams(temperature=0), len(x)).draw(x) == int(np.argmax(x))


@given(logits, st.integers(1, 70))
def test_top_k_gives_ties_to_the_lower_ids(x: np.ndarray, k: int) -> None:
    ids, _ = distribution(x, SamplingParams(top_k=k))
    assert ids.tolist() == sorted(np.argsort(-x, kind="stable")[:k].tolist())


@given(logits, st.floats(0.01, 0.999))
def test_top_p_keeps_the_fewest_that_reach_the_share(x: np.ndarray, share: float) -> None:
    ids, _ = distribution(x, SamplingParams(top_p=share))
    p = softmax(x.astype(np.float64))
    assert p[ids].sum() >= share - 1e-9
    assert p[ids].sum() - p[ids].min() < share + 1e-9


@given(logits, st.floats(0.01, 0.999))
def test_typical_keeps_the_fewest_nearest_to_the_entropy(x: np.ndarray, share: float) -> None:
    ids, _ = distribution(x, SamplingParams(typical_p=share))
    p = softmax(x.astype(np.float64))
    surprise = -np.log(p)
    distance = np.abs(surprise - p @ surprise)
    dropped = np.setdiff1d(np.arange(len(x)), ids)
    if len(dropped):
        assert distance[ids].max() <= distance[dropped].min() + 1e-9
    assert p[ids].sum() >= share - 1e-9
    farthest = ids[np.argmax(distance[ids])]
    assert p[ids].sum() - p[farthest] < share + 1e-9


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 4.0])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 0.9999])
def test_a_large_vocabulary_is_cut_as_a_sorted_one(spread: float, share: float) -> None:
    x = np.random.default_rng(1).standard_normal(201_088).astype(np.float32) * np.float32(spread)
    p = softmax(x.astype(np.float64))
    for chosen, distance in (
        (SamplingParams(top_p=share), -p),
        (SamplingParams(typical_p=share), np.abs(-np.log(p) - p @ -np.log(p))),
    ):
        ids, _ = distribution(x, chosen)
        order = np.argsort(distance, kind="stable")
        count = 1 + int(np.searchsorted(np.cumsum(p[order]), share))
        assert abs(len(ids) - count) <= 1  # the sum of 200,000 shares is rounded
        if spread:
            assert len(np.setxor1d(ids, order[: len(ids)])) <= 2


def test_frequencies_follow_the_probabilities() -> None:
    x = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    sampler = Sampler(SamplingParams(seed=1), 3)
    counts = np.bincount([sampler.draw(x) for _ in range(20_000)], minlength=3)
    np.testing.assert_allclose(counts / counts.sum(), [0.5, 0.3, 0.2], atol=0.02)


@given(
    arrays(np.float64, st.integers(1, 2000), elements=st.one_of(st.just(0.0), st.floats(0, 1))),
    st.floats(0, 1, exclude_max=True),
)
def test_pick_finds_the_place_in_the_running_sum(weights: np.ndarray, uniform: float) -> None:
    weights[len(weights) // 2] += 1  # something must be possible
    index = pick(weights, uniform)
    before = weights[:index].sum()
    assert weights[index] > 0
    assert before - 1e-9 <= uniform * weights.sum() <= before + weights[index] + 1e-9


def test_what_is_impossible_is_never_drawn() -> None:
    x = np.full(1500, -np.inf, np.float32)
    x[[3, 700]] = 0
    sampler = Sampler(SamplingParams(seed=2), len(x))
    assert {sampler.draw(x) for _ in range(200)} == {3, 700}


def test_a_seed_repeats_and_seeds_differ() -> None:
    x = np.zeros(1000, np.float32)
    draws = [Sampler(SamplingParams(seed=s), 1000).draw(x) for s in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]


def test_seeded_draws_are_the_same_on_every_machine() -> None:
    x = (np.arange(5000) * 7919 % 1009).astype(np.float32) / 128
    sampler = Sampler(SamplingParams(seed=42, top_p=0.95, min_p=0.01), len(x))
    drawn = [sampler.draw(x) for _ in range(8)]
    assert drawn == [3865, 2190, 4301, 3490, 475, 4875, 3812, 3925]


def test_a_tiny_temperature_is_greedy() -> None:
    x = np.array([1, 3, 2], np.float32)
    assert Sampler(SamplingParams(temperature=1e-300), 3).draw(x) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_no_numbers_are_refused(bad: float, temperature: float) -> None:
    x = np.array([0, bad, 1], np.float32)
    with pytest.raises(IngleError, match="logits"):
        Sampler(SamplingParams(temperature), 3).draw(x)


def test_no_token_at_all_is_refused() -> None:
    with pytest.raises(IngleError, match="logits"):
        Sampler(SamplingParams(), 2).draw(np.full(2, -np.inf, np.float32))


def test_penalties_of_openai_count_the_answer_alone() -> None:
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence, of OpenAI's API reference."""
    x = np.array([2.0, 1.9, 0.0], np.float32)
    wish = SamplingParams(temperature=0, presence_penalty=0.5, frequency_penalty=0.2)
    sampler = Sampler(wish, 3, prompt_ids=[1, 1, 1])
    # 2.0 | 1.3 : 1.9 | 1.3 : 1.2 | 1.1 : 1.2 | 1.1 : 1.0
    assert [sampler.draw(x) for _ in range(5)] == [0, 1, 0, 1, 0]


def test_a_repetition_penalty_counts_the_prompt() -> None:
    x = np.array([2.0, 1.5, -1.0, -1.5], np.float32)
    wish = SamplingParams(temperature=0, repetition_penalty=2.0)
    assert Sampler(wish, 4, prompt_ids=[0]).draw(x) == 1
    assert Sampler(wish, 4).draw(x) == 0


def test_a_negative_logit_is_multiplied() -> None:
    x = np.array([-1.0, -1.5], np.float32)
    wish = SamplingParams(temperature=0, repetition_penalty=2.0)
    assert Sampler(wish, 2, prompt_ids=[0]).draw(x) == 1


def test_a_bias_chooses_and_forbids() -> None:
    x = np.array([5.0, 0.0, 1.0], np.float32)
    assert Sampler(SamplingParams(temperature=0, logit_bias={1: 100}), 3).draw(x) == 1
    assert Sampler(SamplingParams(temperature=0, logit_bias={0: -100}), 3).draw(x) == 2


@given(logits, st.integers(0, 59), st.integers(0, MAX_LOGPROBS))
def test_logprobs_are_those_of_the_softmax(x: np.ndarray, token: int, count: int) -> None:
    token %= len(x)
    found = token_logprobs(x, token, count)
    expected = np.log(softmax(x.astype(np.float64)))
    assert found.logprob == pytest.approx(expected[token], abs=1e-9)
    best = np.argsort(-x, kind="stable")[:count]
    assert [i for i, _ in found.top] == best.tolist()
    np.testing.assert_allclose([p for _, p in found.top], expected[best], atol=1e-9)


def test_defaults_filter_nothing() -> None:
    assert filters_of(SamplingParams()) == []


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_possible(name: str) -> None:
    SamplingParams(**preset(name))


def test_presets_are_as_documented() -> None:
    assert 0.8 <= PRESETS["creative"]["temperature"] <= 1.2
    assert PRESETS["creative"]["repetition_penalty"] > 1
    assert 0.4 <= PRESETS["code"]["temperature"] <= 0.6
    assert PRESETS["precise"]["temperature"] < PRESETS["code"]["temperature"]
    with pytest.raises(IngleError, match="creative, code, precise"):
        preset("wild")


def test_recommendations_are_the_makers() -> None:
    assert recommended("gpt_oss", "") == {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    assert recommended("llama", "SmolLM2") == {"temperature": 0.2, "top_p": 0.9}
    SamplingParams(**recommended("llama", "any other"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1),
        ("temperature", math.nan),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", 0),
        ("top_k", -1),
        ("top_k", 1.5),
        ("seed", -1),
        ("seed", 2**64),
        ("min_p", 1.1),
        ("typical_p", 0),
        ("repetition_penalty", 0),
        ("presence_penalty", 2.5),
        ("frequency_penalty", math.inf),
        ("logit_bias", [1]),
        ("logit_bias", {-1: 0.0}),
        ("logit_bias", {"a": 0.0}),
        ("logit_bias", {1: 101}),
        ("logit_bias", {1: None}),
    ],
)
def test_impossible_parameters_are_refused(name: str, value: Any) -> None:
    with pytest.raises(IngleError, match=rf"^\[{name}\] {name} must be .*, but got "):
        SamplingParams(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", "3"),
        ("logprobs", -1),
        ("logprobs", MAX_LOGPROBS + 1),
        ("num_experts_per_tok", 0),
    ],
)
def test_impossible_requests_are_refused(name: str, value: Any) -> None:
    with pytest.raises(IngleError, match=rf"^\[{name}\] "):
        Request([1], **{name: value})


def test_requests_need_a_prompt() -> None:
    with pytest.raises(IngleError, match="prompt"):
        Request([])
