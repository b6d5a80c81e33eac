"""E4M3FN and E5M2 equal ml_dtypes (golden vectors) and their definition."""

from __future__ import annotations

import base64
import gzip
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.numerics import FORMATS, decode, encode

GOLDEN = Path(__file__).parents[1] / "golden" / "quant_vectors_small_floats.json.gz"
VECTORS: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
NAMES = ["F8_E4M3", "F8_E5M2"]
CODES = np.arange(256, dtype=np.uint8)


def array(name: str, key: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(VECTORS[name][key]), dtype)


@pytest.mark.parametrize("name", NAMES)
def test_all_values_equal_ml_dtypes(name: str) -> None:
    ours, theirs = decode(FORMATS[name], CODES), array(name, "values", "<f4")
    nan = np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), nan)
    np.testing.assert_array_equal(ours[~nan].view(np.uint32), theirs[~nan].view(np.uint32))


@pytest.mark.parametrize("name", NAMES)
def test_rounding_equals_ml_dtypes(name: str) -> None:
    """Every value, every tie and its neighbours, specials, overflow, and floats of all sizes."""
    x = array(name, "x", "<f4")
    codes, expected = encode(FORMATS[name], x), array(name, "codes", "u1")
    nan = np.isnan(decode(FORMATS[name], expected))
    np.testing.assert_array_equal(codes[~nan], expected[~nan])
    assert np.isnan(decode(FORMATS[name], codes[nan])).all()


@pytest.mark.parametrize("name", NAMES)
def test_values_survive(name: str) -> None:
    values = decode(FORMATS[name], CODES)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(encode(FORMATS[name], values)[number], CODES[number])


@pytest.mark.parametrize("name", NAMES)
@given(x=st.floats(-400, 400, width=32))
def test_nearest_value_wins_and_ties_go_to_even(name: str, x: float) -> None:
    table = {
        int(code): Fraction(float(value))
        for code, value in zip(CODES, decode(FORMATS[name], CODES), strict=True)
        if np.isfinite(value)
    }
    code = int(encode(FORMATS[name], np.float32([x]))[0])
    error = abs(table[code] - Fraction(x))
    rivals = [c for c, value in table.items() if abs(value - Fraction(x)) == error]
    assert error == min(abs(value - Fraction(x)) for value in table.values())
    assert code % 2 == 0 or len({table[rival] for rival in rivals}) == 1
