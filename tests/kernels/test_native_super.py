"""Super-blocks are multiplied as they are: native logits are the reference's own bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingle import LLM

Make = Callable[..., Path]

FORMATS = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"]
WIDE: dict[str, Any] = {"hidden": 256, "intermediate": 512, "heads": 8, "kv_heads": 2}
# Several super-blocks a row; rows that leave a partial tile (the vocabulary) and a single one.
SHAPES: list[dict[str, Any]] = [
    WIDE,
    WIDE | {"hidden": 768, "intermediate": 256, "layers": 1, "vocab": 300, "tied": False},
]


def random_ids(count: int) -> list[int]:
    return np.random.default_rng(count).integers(0, 256, count).tolist()


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_bits_of_every_format(tiny_llama: Make, isa: str, fmt: str, shape: int) -> None:
    path = tiny_llama(format=fmt, **SHAPES[shape])
    ids = random_ids(33)
    with LLM(path, threads=2, context=256) as llm:
        assert llm.kernels == isa
        ours = llm.logits(ids)
    reference = LLM(path, backend="reference", emulate="q8", context=256).logits(ids)
    assert np.isfinite(reference).all()
    np.testing.assert_array_equal(ours, reference)


@pytest.mark.parametrize("fmt", FORMATS)
def test_bits_of_every_row_count(tiny_llama: Make, isa: str, fmt: str) -> None:
    path = tiny_llama(format=fmt, **WIDE, layers=1)
    ids = random_ids(13)
    with LLM(path, threads=1, context=256) as llm:
        whole = llm.logits(ids)
        for count in range(1, 13):
            np.testing.assert_array_equal(llm.logits(ids[:count]), whole[:count])


@pytest.mark.parametrize("fmt", FORMATS)
def test_float_activations_meet_decoded_weights(tiny_llama: Make, isa: str, fmt: str) -> None:
    path = tiny_llama(format=fmt, **WIDE)
    ids = random_ids(20)
    with LLM(path, context=256, exact=True) as llm:
        ours = llm.logits(ids)
    expected = LLM(path, backend="reference", context=256).logits(ids)
    assert float(np.abs(ours - expected).max() / expected.std()) < 1e-4
