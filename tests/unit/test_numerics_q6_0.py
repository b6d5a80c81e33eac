"""Q6_0 equals ik_llama.cpp's bytes and values (golden vectors), in numpy and natively."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingle import _native
from ingle.formats.ggml_types import block_type, ggml_type
from ingle.numerics import FORMATS, by_ggml_id, decode, encode

GOLDEN = Path(__file__).parents[1] / "golden" / "quant_vectors_q6_0.json.gz"
VECTORS = json.loads(gzip.decompress(GOLDEN.read_bytes()))
Q6_0 = FORMATS["Q6_0"]


def golden(key: str, dtype: str, width: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(VECTORS[key]), dtype).reshape(-1, width)


def natively(
    x: np.ndarray, importance: np.ndarray | None = None, search: bool = False
) -> np.ndarray:
    encoded, fault = _native.encode_rows("Q6_0", x, importance, search, 1)
    assert fault == 0
    return np.asarray(encoded)


def test_values_are_ik_llama_cpps() -> None:
    values = golden("values", "<f4", 32)
    decoded = decode(Q6_0, golden("blocks", "u1", 26))
    np.testing.assert_array_equal(decoded.view(np.uint32), values.view(np.uint32))


def test_bytes_are_ik_llama_cpps() -> None:
    x, encoded = golden("x", "<f4", 32), golden("encoded", "u1", 26)
    np.testing.assert_array_equal(encode(Q6_0, x), encoded)
    np.testing.assert_array_equal(natively(x), encoded)


@given(
    x=hnp.arrays(np.float32, (3, 64), elements=st.floats(-1000, 1000, width=32)),
    power=st.integers(-60, 3),
)
def test_native_encoder_equals_numpy(x: np.ndarray, power: int) -> None:
    x = x * np.float32(2.0**power)
    np.testing.assert_array_equal(natively(x), encode(Q6_0, x))


@given(seed=st.integers(0, 1 << 20))
def test_search_and_importance_lower_the_weighted_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_t(4, (4, 64)).astype(np.float32)
    w = rng.gamma(1.0, 1.0, 64).astype(np.float32) + np.float32(1e-3)

    def error(rows: np.ndarray) -> float:
        return float((w * (decode(Q6_0, rows).astype(np.float64) - x) ** 2).sum())

    assert error(natively(x, w, search=True)) <= error(natively(x, w)) * (1 + 1e-9)
    assert error(natively(x, w, search=True)) <= error(natively(x)) * (1 + 1e-6)


@pytest.mark.parametrize("row", range(32))
def test_every_code_of_every_element(row: int) -> None:
    """Element `row` of 64 blocks takes each code once, the others stay zero."""
    x = np.zeros((64, 32), np.float32)
    x[:, row] = np.arange(64) - 32
    x[:, (row + 1) % 32] = -32  # so that the scale is 1
    decoded = decode(Q6_0, encode(Q6_0, x))
    assert np.abs(decoded - x).max() <= 1 / 64


def test_gguf_knows_it_by_ik_llama_cpps_id() -> None:
    assert by_ggml_id(133) is Q6_0
    assert ggml_type("Q6_0", "here")[0] == 133
    assert block_type(133, "llama", "here") == ("Q6_0", 32, 26)
    assert Q6_0.bits_per_weight == 6.5
