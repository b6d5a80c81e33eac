"""Sampling against transformers' own processors: what each keeps, and what penalties change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra `oracle`: pip install '.[oracle]'")
pytest.importorskip("transformers", reason="needs the extra `oracle`: pip install '.[oracle]'")

import torch
from transformers.generation import logits_process as hf

from ingle.runtime.penalties import Penalties
from ingle.runtime.request import SamplingParams
from ingle.runtime.sampling import distribution


@st.composite
def distinct_logits(draw: st.DrawFn) -> np.ndarray:
    """Logits without ties, which transformers and we break differently; flat to peaked."""
    size, seed = draw(st.integers(1, 400)), draw(st.integers(0, 2**32 - 1))
    spread = draw(st.sampled_from([0.1, 1.0, 3.0, 8.0]))
    return (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)


def theirs(logits: np.ndarray, *steps: hf.LogitsProcessor) -> np.ndarray:
    """float64 logits after `steps`."""
    scores = torch.from_numpy(logits.astype(np.float64))[None]
    for step in steps:
        scores = step(torch.zeros((1, 0), dtype=torch.long), scores)
    return scores[0].numpy()


def assert_same(logits: np.ndarray, params: SamplingParams, *steps: hf.LogitsProcessor) -> None:
    expected = theirs(logits, *steps)
    ids, probabilities = distribution(logits, params)
    np.testing.assert_array_equal(ids, np.flatnonzero(np.isfinite(expected)))
    softmax = torch.from_numpy(expected).softmax(-1).numpy()
    np.testing.assert_allclose(probabilities, softmax[ids], rtol=1e-9)


@given(distinct_logits(), st.floats(0.05, 5))
def test_temperature(x: np.ndarray, temperature: float) -> None:
    assert_same(x, SamplingParams(temperature), hf.TemperatureLogitsWarper(temperature))


@given(distinct_logits(), st.integers(1, 500))
def test_top_k(x: np.ndarray, k: int) -> None:
    assert_same(x, SamplingParams(top_k=k), hf.TopKLogitsWarper(k))


@given(distinct_logits(), st.floats(0.01, 0.999))
def test_top_p(x: np.ndarray, p: float) -> None:
    assert_same(x, SamplingParams(top_p=p), hf.TopPLogitsWarper(p))


@given(distinct_logits(), st.floats(0.001, 1))
def test_min_p(x: np.ndarray, p: float) -> None:
    assert_same(x, SamplingParams(min_p=p), hf.MinPLogitsWarper(p))


@given(distinct_logits(), st.floats(0.01, 0.999))
def test_typical_p(x: np.ndarray, mass: float) -> None:
    assert_same(x, SamplingParams(typical_p=mass), hf.TypicalLogitsWarper(mass))


@given(
    distinct_logits(),
    st.floats(0.1, 3),
    st.integers(1, 100),
    st.floats(0.1, 0.99),
    st.floats(0.001, 0.5),
    st.floats(0.1, 0.99),
)
def test_all_in_their_order(
    x: np.ndarray, temperature: float, k: int, p: float, min_p: float, mass: float
) -> None:
    assert_same(
        x,
        SamplingParams(temperature, p, k, min_p=min_p, typical_p=mass),
        hf.TemperatureLogitsWarper(temperature),
        hf.TopKLogitsWarper(k),
        hf.TopPLogitsWarper(p),
        hf.MinPLogitsWarper(min_p),
        hf.TypicalLogitsWarper(mass),
    )


@given(distinct_logits(), st.floats(0.5, 2), st.lists(st.integers(0, 399), min_size=1, max_size=30))
def test_repetition_penalty(x: np.ndarray, penalty: float, said: list[int]) -> None:
    ids = [i % len(x) for i in said]
    prompt, answer = ids[: len(ids) // 2], ids[len(ids) // 2 :]
    ours = Penalties(SamplingParams(repetition_penalty=penalty), len(x), prompt)
    for token in answer:
        ours.note(token)
    changed = x.astype(np.float64)
    ours.apply(changed)
    scores = torch.from_numpy(x.astype(np.float64))[None]
    expected = hf.RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([ids]), scores)
    np.testing.assert_array_equal(changed, expected[0].numpy())


@given(distinct_logits(), st.dictionaries(st.integers(0, 399), st.floats(-100, 100), min_size=1))
def test_logit_bias(x: np.ndarray, biases: dict[int, float]) -> None:
    wish = {i % len(x): bias for i, bias in biases.items()}
    changed = x.astype(np.float64)
    Penalties(SamplingParams(logit_bias=wish), len(x)).apply(changed)
    processor = hf.SequenceBiasLogitsProcessor([[[i], float(b)] for i, b in wish.items()])
    expected = processor(torch.zeros((1, 1), dtype=torch.long), torch.from_numpy(x.copy())[None])
    np.testing.assert_allclose(changed, expected[0].numpy(), rtol=1e-5, atol=1e-4)
