"""The native decoders and tile packer equal the numpy ones, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingle.numerics import FORMATS, Format, decode, tiles
from ingle.numerics.int8_blocks import INT8
from ingle.numerics.mxfp4 import openai_to_gguf

native: Any = pytest.importorskip("ingle._native", reason="the native module is not built")

ALL = [fmt for fmt in FORMATS.values() if fmt is not INT8]  # which no file holds
TILED = [fmt for fmt in ALL if tiles.has_tiles(fmt)]


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    same = actual.view(np.uint32) == expected.view(np.uint32)
    same |= np.isnan(actual) & np.isnan(expected)
    where = np.argwhere(~same)[:1]
    assert same.all(), f"at {where}: {actual[~same][0]!r} is not {expected[~same][0]!r}"


def test_facts_are_those_of_numerics() -> None:
    expected = {
        fmt.name: (fmt.block, fmt.block_bytes, 16 * fmt.block_bytes if fmt in TILED else 0)
        for fmt in ALL
    }
    assert native.format_facts() == expected


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_decode_random_bytes(fmt: Format) -> None:
    data = np.random.default_rng(9).integers(0, 256, (97, 21 * fmt.block_bytes), np.uint8)
    assert_same_bits(native.decode(fmt.name, data, 21 * fmt.block), decode(fmt, data))


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
@given(data=st.data())
def test_decode(fmt: Format, data: st.DataObject) -> None:
    blocks = data.draw(hnp.arrays(np.uint8, (2, fmt.block_bytes)))
    assert_same_bits(native.decode(fmt.name, blocks, fmt.block), decode(fmt, blocks))


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_decode_all_halves(name: str) -> None:
    data = np.arange(65536, dtype="<u2").view(np.uint8).reshape(256, 512)
    assert_same_bits(native.decode(name, data, 256), decode(FORMATS[name], data))


@pytest.mark.parametrize("fmt", TILED, ids=lambda fmt: fmt.name)
@given(rows=st.integers(0, 40), blocks=st.integers(0, 4))
def test_pack_tiles(fmt: Format, rows: int, blocks: int) -> None:
    data = np.random.default_rng(rows).integers(0, 256, (rows, blocks * fmt.block_bytes), np.uint8)
    packed = native.pack_tiles(fmt.name, data, rows, blocks * fmt.block)
    np.testing.assert_array_equal(packed, tiles.pack(fmt, data))


@given(blocks=hnp.arrays(np.uint8, (5, 16)), scales=hnp.arrays(np.uint8, 5))
def test_openai_to_gguf(blocks: np.ndarray, scales: np.ndarray) -> None:
    rows = native.openai_to_gguf(blocks, scales)
    np.testing.assert_array_equal(rows.reshape(-1), openai_to_gguf(blocks, scales))


def test_openai_to_gguf_refuses_other_shapes() -> None:
    scales = np.zeros(2, np.uint8)
    for shape in [(3, 16), (2, 15)]:
        with pytest.raises(ValueError, match="16 bytes for every exponent"):
            native.openai_to_gguf(np.zeros(shape, np.uint8), scales)


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_data_may_be_read_only_and_unaligned(offset: int) -> None:
    raw = bytes(range(256)) * 4
    data = np.frombuffer(raw, np.uint8, 34 * 20, offset).reshape(20, 34)
    assert_same_bits(native.decode("Q8_0", data, 32), decode(FORMATS["Q8_0"], data))
    packed = native.pack_tiles("Q8_0", data, 20, 32)
    np.testing.assert_array_equal(packed, tiles.pack(FORMATS["Q8_0"], data))


@pytest.mark.parametrize(
    ("name", "shape", "columns", "message"),
    [
        ("Q9_Z", (1, 34), 32, "unknown number format Q9_Z"),
        ("Q8_0", (1, 34), 64, "rows of 34 bytes do not hold 64 columns of Q8_0"),
        ("Q8_0", (1, 35), 32, "rows of 35 bytes"),
        ("Q8_0", (1, 34), 33, "do not hold 33 columns"),
        ("Q8_0", (1, 34), 2**63, "do not hold"),
    ],
)
def test_bad_sizes(name: str, shape: tuple[int, int], columns: int, message: str) -> None:
    data = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=message):
        native.decode(name, data, columns)
    with pytest.raises(ValueError, match=message):
        native.pack_tiles(name, data, shape[0], columns)


def test_bad_tiles() -> None:
    with pytest.raises(ValueError, match="NVFP4 has no kernel layout"):
        native.pack_tiles("NVFP4", np.zeros((1, 36), np.uint8), 1, 64)
    with pytest.raises(ValueError, match="rows must be the length of data"):
        native.pack_tiles("Q8_0", np.zeros((2, 34), np.uint8), 3, 32)


@pytest.mark.parametrize(
    "data",
    [
        np.zeros(34, np.uint8),
        np.zeros((2, 34), np.int8),
        np.zeros((4, 34), np.uint8)[::2],
        np.zeros((34, 2), np.uint8).T,
    ],
)
def test_arrays_are_never_converted(data: np.ndarray) -> None:
    with pytest.raises(TypeError):
        native.decode("Q8_0", data, 32)
