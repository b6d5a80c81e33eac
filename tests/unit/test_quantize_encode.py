"""The native encoders give llama.cpp's bytes (golden vectors, `gguf` package), or less error."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingle.errors import IngleError
from ingle.numerics import FORMATS
from ingle.quantize.encode import ENCODABLE, decode_rows, encode_rows
from ingle.quantize.gptq import curvature, damped, round_rows

GOLDEN = Path(__file__).parents[1] / "golden" / "quant_vectors.json.gz"
VECTORS: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
X = np.frombuffer(base64.b64decode(VECTORS["x_f32"]), "<f4").reshape(VECTORS["shape"])
IMPORTANCE = np.frombuffer(base64.b64decode(VECTORS["imatrix_f32"]), "<f4")
BLOCKS = [name for name in ENCODABLE if FORMATS[name].block > 1]
GGUF_WRITES = ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4")


@pytest.mark.parametrize("name", [name for name in ENCODABLE if name != "F32"])
@pytest.mark.parametrize("key", ["quantized_no_imatrix", "quantized_imatrix"])
def test_bytes_are_llama_cpps(name: str, key: str) -> None:
    stored = VECTORS["types"][name].get(key)
    if stored is None:
        pytest.skip("floats take no importance")
    importance = None if key.endswith("no_imatrix") else IMPORTANCE
    wanted = np.frombuffer(base64.b64decode(stored), np.uint8).reshape(len(X), -1)
    assert np.array_equal(encode_rows(name, X, importance), wanted)


WEIGHTS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.just(256)),
    elements=st.floats(-64, 64, width=32, allow_subnormal=False),
)


@pytest.mark.parametrize("name", GGUF_WRITES)
@given(seed=st.integers(0, 1 << 20), power=st.integers(-20, 10))
def test_bytes_are_those_of_the_gguf_package(name: str, seed: int, power: int) -> None:
    drawn = np.random.default_rng(seed).standard_t(4, (4, 256))
    x = (drawn * 2.0**power).astype(np.float32)
    theirs = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name])
    assert np.array_equal(encode_rows(name, x), np.ascontiguousarray(theirs).view(np.uint8))


def weighted_error(name: str, x: np.ndarray, w: np.ndarray, search: bool) -> float:
    decoded = decode_rows(name, encode_rows(name, x, w, search=search))
    return float(np.sum(w * np.square(decoded.astype(np.float64) - x)))


@pytest.mark.parametrize("name", BLOCKS)
@given(x=WEIGHTS, seed=st.integers(0, 99))
def test_search_is_never_worse(name: str, x: np.ndarray, seed: int) -> None:
    w = np.random.default_rng(seed).gamma(1.0, 1.0, 256).astype(np.float32) + np.float32(1e-3)
    ours, theirs = (weighted_error(name, x, w, search) for search in (True, False))
    assert ours <= theirs * (1 + 1e-9)


@pytest.mark.parametrize("name", BLOCKS)
@given(x=WEIGHTS)
def test_search_without_importance_is_never_worse_by_size(name: str, x: np.ndarray) -> None:
    size = np.sqrt(np.mean(x * x, axis=1, keepdims=True, dtype=np.float64) + np.square(x))
    errors = []
    for search in (True, False):
        decoded = decode_rows(name, encode_rows(name, x, search=search)).astype(np.float64)
        errors.append(float(np.sum(size * np.square(decoded - x))))
    assert errors[0] <= errors[1] * (1 + 1e-5)  # the weights there are float32


@pytest.mark.parametrize(
    ("name", "most"), [("Q2_K", 0.6), ("Q3_K", 0.8), ("Q4_1", 0.9), ("Q4_K", 0.95), ("Q5_K", 0.97)]
)
def test_search_is_better_where_ggml_is_coarse(name: str, most: float) -> None:
    ours, theirs = (weighted_error(name, X, IMPORTANCE, search) for search in (True, False))
    assert ours < most * theirs


@pytest.mark.parametrize("name", BLOCKS)
@given(x=WEIGHTS, threads=st.integers(1, 4))
def test_bytes_do_not_depend_on_threads(name: str, x: np.ndarray, threads: int) -> None:
    rows = np.tile(x, (20, 1))
    assert np.array_equal(encode_rows(name, rows), encode_rows(name, rows, threads=threads))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("search", [False, True])
def test_zeros_stay_zeros(name: str, search: bool) -> None:
    decoded = decode_rows(name, encode_rows(name, np.zeros((2, 512), np.float32), search=search))
    assert not decoded.any()


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    x = np.ones((3, 256), np.float32)
    x[1, 7] = bad
    with pytest.raises(IngleError, match="must be finite"):
        encode_rows(name, x, where="tensor 'a'")


@pytest.mark.parametrize("name", ["Q4_0", "Q5_1", "IQ4_NL", "Q3_K"])
def test_scales_beyond_float16_are_refused(name: str) -> None:
    with pytest.raises(IngleError, match="must fit float16"):
        encode_rows(name, np.full((1, 256), 1e30, np.float32))


def test_rows_must_be_whole_blocks() -> None:
    with pytest.raises(IngleError, match="multiple of 256, but got 288"):
        encode_rows("Q4_K", np.ones((1, 288), np.float32))
    with pytest.raises(IngleError, match="must be one of"):
        encode_rows("IQ3_S", np.ones((1, 256), np.float32))


def activations(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Correlated, with a few large channels, as inputs of linear layers are."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((rows, 32)) @ rng.standard_normal((32, columns))
    scales = np.exp(rng.standard_normal(columns))
    return ((mixed + rng.standard_normal((rows, columns))) * scales).astype(np.float32)


def output_error(w: np.ndarray, name: str, rows: np.ndarray, x: np.ndarray) -> float:
    """Of float64 outputs, not of any quantity that the encoder computes with."""
    wrong = (decode_rows(name, rows).astype(np.float64) - w) @ x.astype(np.float64).T
    return float(np.square(wrong).sum())


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "Q8_0"])
def test_compensated_rounding_halves_the_error_of_outputs(name: str) -> None:
    x = activations(1024, 512)
    w = np.random.default_rng(1).standard_normal((24, 512)).astype(np.float32)
    plain = encode_rows(name, w, np.mean(x * x, axis=0), search=True)
    curved = curvature(x.T @ x)
    once, refined = (round_rows(name, w, curved, sweeps=sweeps) for sweeps in (0, 4))
    errors = [output_error(w, name, rows, x) for rows in (plain, once, refined)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < errors[1]


@given(seed=st.integers(0, 50), columns=st.sampled_from([64, 160, 288]))
def test_the_factor_is_that_of_the_inverse(seed: int, columns: int) -> None:
    x = activations(columns // 2, columns, seed)  # fewer rows than columns: damping must do
    hessian, upper = curvature(x.T @ x)
    assert np.array_equal(upper, np.triu(upper))
    product = upper.astype(np.float64).T @ upper.astype(np.float64) @ hessian
    assert np.allclose(product, np.eye(columns), atol=2e-3)


def test_a_matrix_that_saw_nothing_counts_evenly() -> None:
    assert np.array_equal(damped(np.zeros((32, 32), np.float32)), np.eye(32))
    w = np.random.default_rng(2).standard_normal((4, 64)).astype(np.float32)
    rounded = round_rows("Q4_0", w, curvature(np.zeros((64, 64), np.float32)))
    assert np.abs(decode_rows("Q4_0", rounded) - w).max() < 0.5
