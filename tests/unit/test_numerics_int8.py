"""INT8: the nearest of the levels (code - zero_point) * scale, for every weight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingle.errors import IngleError
from ingle.numerics.int8 import Int8, dequantize, quantize

weights = st.floats(-1e4, 1e4, width=32).map(lambda x: 0.0 if abs(x) < 1e-20 else x)
matrices = hnp.arrays(np.float32, (3, 12), elements=weights)
groups = st.sampled_from([None, 12, 4, 1])


@given(x=matrices, group=groups, symmetric=st.booleans())
def test_no_level_is_nearer(x: np.ndarray, group: int | None, symmetric: bool) -> None:
    tensor = quantize(x, group, symmetric)
    codes = np.arange(-127 if symmetric else -128, 128)
    size = group or x.shape[1]
    scale = tensor.scale.repeat(size, axis=1).astype(np.float64)
    zero = np.zeros(x.shape, int)
    if tensor.zero_point is not None:
        zero += tensor.zero_point.repeat(size, axis=1)
    levels = (codes - zero[..., None]) * scale[..., None]
    nearest = np.abs(levels - x[..., None]).min(axis=2)
    error = np.abs((tensor.codes - zero) * scale - x)
    assert (error <= nearest + np.abs(x) * 1e-6).all()
    assert (error <= scale * 0.50002).all()


@given(x=matrices, group=groups, symmetric=st.booleans())
def test_definition(x: np.ndarray, group: int | None, symmetric: bool) -> None:
    """Q(x) = round(x / scale) + zero_point, with the scale of the group's range."""
    tensor = quantize(x, group, symmetric)
    for row in range(3):
        for column in range(12):
            g = column // (group or 12)
            part = x[row].reshape(-1, group or 12)[g]
            if symmetric:
                scale, zero = np.abs(part).max() / np.float32(127), 0
            else:
                low, high = min(float(part.min()), 0.0), max(float(part.max()), 0.0)
                scale = np.float32((high - low) / 255)
                zero = round(float(-128 - np.float32(low) / (scale or np.float32(1))))
                assert tensor.zero_point is not None
                assert tensor.zero_point[row, g] == zero
            assert tensor.scale[row, g] == (scale or 1)
            code = round(float(x[row, column] / tensor.scale[row, g])) + zero
            assert tensor.codes[row, column] == min(max(code, -127 if symmetric else -128), 127)


@given(x=matrices, group=groups, symmetric=st.booleans())
def test_dequantize(x: np.ndarray, group: int | None, symmetric: bool) -> None:
    tensor = quantize(x, group, symmetric)
    size = group or 12
    zero = np.zeros_like(tensor.scale) if tensor.zero_point is None else tensor.zero_point
    expected = (tensor.codes - zero.repeat(size, 1).astype(np.float32)) * tensor.scale.repeat(
        size, 1
    )
    np.testing.assert_array_equal(dequantize(tensor), expected)


def test_zero_is_exact_when_asymmetric() -> None:
    x = np.float32([[3, 7, 0, 11], [-3, -7, 0, -11], [0, 0, 0, 0]])
    assert (dequantize(quantize(x, symmetric=False))[:, 2] == 0).all()


def test_whole_float_range() -> None:
    x = np.float32([[-3e38, 3e38, 0, 1]])
    for symmetric in (True, False):
        error = np.abs(dequantize(quantize(x, symmetric=symmetric)).astype(np.float64) - x)
        assert error.max() <= 3e38 / 127


def test_shapes_and_bytes() -> None:
    x = np.ones((2, 3, 8), np.float32)
    tensor = quantize(x, group=4, symmetric=False)
    assert tensor.codes.shape == (2, 3, 8)
    assert tensor.scale.shape == (2, 3, 2)
    assert tensor.nbytes == 48 + 4 * 12 + 12
    assert quantize(x).scale.shape == (2, 3, 1)
    assert quantize(np.ones((0, 8), np.float32)).codes.shape == (0, 8)


@pytest.mark.parametrize(
    ("x", "group", "message"),
    [
        (np.ones((2, 10), np.float32), 4, "divide the 10 columns, but got 4"),
        (np.ones((2, 10), np.float32), 0, "but got 0"),
        (np.ones((2, 0), np.float32), None, "but got 0"),
        (np.float32([[np.nan, 1]]), None, "finite float32 numbers, but got nan"),
    ],
)
def test_bad_input(x: np.ndarray, group: int | None, message: str) -> None:
    with pytest.raises(IngleError, match=message):
        quantize(x, group)


def test_parts_must_fit() -> None:
    codes = np.zeros((2, 8), np.int8)
    with pytest.raises(IngleError, match="whole groups of codes"):
        Int8(codes, np.ones((2, 3), np.float32))
    with pytest.raises(IngleError, match="shape of scales"):
        Int8(codes, np.ones((2, 2), np.float32), np.zeros((2, 1), np.int8))
