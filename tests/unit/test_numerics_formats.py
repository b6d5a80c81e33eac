"""Every format equals llama.cpp's bytes (golden vectors) and the `gguf` package, bit for bit."""

from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingle.errors import IngleError, UnsupportedError
from ingle.numerics import FORMATS, Format, by_ggml_id, decode, encode
from ingle.numerics.format import CHUNK_WEIGHTS

GOLDEN = Path(__file__).parents[1] / "golden" / "quant_vectors.json.gz"
VECTORS: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
TYPES: dict[str, dict[str, str]] = VECTORS["types"]
GGUF_FORMATS = [
    fmt for fmt in FORMATS.values() if fmt.ggml_id is not None and fmt.name != "Q6_0"
]  # ik_llama.cpp's Q6_0 has golden vectors of its own, below
WRITABLE = [fmt for fmt in GGUF_FORMATS if fmt.encode is not None and fmt.block > 1]
WRITABLE.append(FORMATS["Q6_0"])
X = np.frombuffer(base64.b64decode(VECTORS["x_f32"]), "<f4").reshape(VECTORS["shape"])


def golden(name: str, key: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(TYPES[name][key]), dtype)


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal float32 bits; any NaN equals any NaN."""
    assert actual.shape == expected.shape
    same = actual.view(np.uint32) == np.ascontiguousarray(expected).view(np.uint32)
    same |= np.isnan(actual) & np.isnan(expected)
    where = np.argwhere(~same)[:1]
    assert same.all(), f"at {where}: {actual[~same][0]!r} is not {expected[~same][0]!r}"


def gguf_decode(fmt: Format, data: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        result = gguf.quants.dequantize(data, gguf.GGMLQuantizationType(fmt.ggml_id))
    return np.asarray(result, np.float32)


def gguf_encode(fmt: Format, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        result = gguf.quants.quantize(x, gguf.GGMLQuantizationType(fmt.ggml_id))
    return np.ascontiguousarray(result).view(np.uint8)


@pytest.mark.parametrize("fmt", GGUF_FORMATS, ids=lambda fmt: fmt.name)
def test_sizes_equal_gguf(fmt: Format) -> None:
    ggml_type = gguf.GGMLQuantizationType(fmt.ggml_id)
    assert ggml_type.name == fmt.name
    assert (fmt.block, fmt.block_bytes) == gguf.GGML_QUANT_SIZES[ggml_type]
    assert by_ggml_id(int(ggml_type)) is fmt


@pytest.mark.parametrize("name", [name for name in TYPES if "random_blocks" in TYPES[name]])
@pytest.mark.parametrize(
    ("data", "values"),
    [
        ("quantized_no_imatrix", "dequantized_no_imatrix_f32"),
        ("random_blocks", "random_blocks_dequant_f32"),
    ],
)
def test_decode_equals_llama_cpp(name: str, data: str, values: str) -> None:
    decoded = decode(FORMATS[name], golden(name, data, "u1"))
    assert_same_bits(decoded, golden(name, values, "<f4"))


@pytest.mark.parametrize("name", [name for name in TYPES if FORMATS[name].encode is not None])
def test_encode_equals_llama_cpp(name: str) -> None:
    expected = golden(name, "quantized_no_imatrix", "u1").reshape(len(X), -1)
    np.testing.assert_array_equal(encode(FORMATS[name], X), expected)


@pytest.mark.parametrize("fmt", GGUF_FORMATS, ids=lambda fmt: fmt.name)
def test_decode_equals_gguf_on_random_bytes(fmt: Format) -> None:
    """Random bytes hold every kind of scale: subnormal, negative, infinite, NaN."""
    data = np.random.default_rng(fmt.block_bytes).integers(0, 256, (2000, fmt.block_bytes), "u1")
    assert_same_bits(decode(fmt, data), gguf_decode(fmt, data))


@pytest.mark.parametrize("fmt", GGUF_FORMATS, ids=lambda fmt: fmt.name)
@given(data=st.data())
def test_decode_equals_gguf(fmt: Format, data: st.DataObject) -> None:
    blocks = data.draw(hnp.arrays(np.uint8, (2, fmt.block_bytes)))
    assert_same_bits(decode(fmt, blocks), gguf_decode(fmt, blocks))


# gguf's Q4_0 and Q5_0 emulate a fused multiply-add, its NVFP4 cannot encode.
@pytest.mark.parametrize("name", ["Q8_0", "Q4_1", "Q5_1", "MXFP4"])
def test_encode_equals_gguf(name: str) -> None:
    rng = np.random.default_rng(5)
    size = 2.0 ** rng.integers(-60, 12, (4000, 1))
    x = (rng.standard_normal((4000, 32)) * size).astype(np.float32)
    x[::7, ::3] = 0
    x[::11] = 0
    np.testing.assert_array_equal(encode(FORMATS[name], x), gguf_encode(FORMATS[name], x))


@pytest.mark.parametrize("name", ["F16", "BF16"])
@given(bits=hnp.arrays(np.uint32, 64))
def test_float_encode_equals_gguf(name: str, bits: np.ndarray) -> None:
    x = bits.view(np.float32)
    ours = encode(FORMATS[name], x).view(np.uint16)
    theirs = gguf_encode(FORMATS[name], x).view(np.uint16)
    np.testing.assert_array_equal(ours[~np.isnan(x)], theirs[~np.isnan(x)])
    assert np.isnan(decode(FORMATS[name], ours.view(np.uint8))[np.isnan(x)]).all()


@given(bits=hnp.arrays(np.uint32, 8))
def test_f32_is_the_identity(bits: np.ndarray) -> None:
    x = bits.view(np.float32)
    np.testing.assert_array_equal(
        decode(FORMATS["F32"], encode(FORMATS["F32"], x)).view("u4"), bits
    )


# Greatest error of a block in units of its range: half a step, plus the rounding of the scale
# and minimum to float16; the formats around zero also lose the step above their largest code.
ERRORS = {
    "Q8_0": (lambda x: np.abs(x).max(), 0.5 / 127 + 2**-11),
    "Q4_0": (lambda x: np.abs(x).max(), 1 / 8 + 2**-11),
    "Q5_0": (lambda x: np.abs(x).max(), 1 / 16 + 2**-11),
    "Q6_0": (lambda x: np.abs(x).max(), 1 / 24),  # the fit leaves the largest by up to 4%
    "Q4_1": (lambda x: np.ptp(x) + np.abs(x).max(), 0.5 / 15 + 2**-11),
    "Q5_1": (lambda x: np.ptp(x) + np.abs(x).max(), 0.5 / 31 + 2**-11),
    "MXFP4": (lambda x: np.abs(x).max(), 1 / 4),
    "NVFP4": (lambda x: np.abs(x).max(), 1 / 6 + 1 / 16),
}


@pytest.mark.parametrize("fmt", WRITABLE, ids=lambda fmt: fmt.name)
@given(data=st.data())
def test_round_trip_error(fmt: Format, data: st.DataObject) -> None:
    finite = st.floats(-1000, 1000, width=32)
    x = data.draw(hnp.arrays(np.float32, fmt.block, elements=finite))
    error = np.abs(decode(fmt, encode(fmt, x)).astype(np.float64) - x).max()
    size, share = ERRORS[fmt.name]
    smallest = 2.0**-10  # scales below float16's (NVFP4: E4M3's) subnormals vanish
    assert error <= size(x.astype(np.float64)) * share * 1.0001 + smallest * 6


@pytest.mark.parametrize("fmt", WRITABLE, ids=lambda fmt: fmt.name)
def test_zeros_stay_zeros(fmt: Format) -> None:
    zeros = np.zeros((3, fmt.block), np.float32)
    assert not decode(fmt, encode(fmt, zeros)).any()


@pytest.mark.parametrize("fmt", WRITABLE, ids=lambda fmt: fmt.name)
def test_tiny_weights_encode(fmt: Format) -> None:
    x = np.full((1, fmt.block), 1e-45, np.float32)
    x[0, ::2] *= -1
    assert np.abs(decode(fmt, encode(fmt, x))).max() <= 1e-44


def test_leading_dimensions_are_kept() -> None:
    x = np.arange(2 * 3 * 64, dtype=np.float32).reshape(2, 3, 64)
    data = encode(FORMATS["Q8_0"], x)
    assert data.shape == (2, 3, 68)
    assert decode(FORMATS["Q8_0"], data).shape == x.shape
    strided = decode(FORMATS["Q8_0"], data[:, ::2])
    np.testing.assert_array_equal(strided, decode(FORMATS["Q8_0"], data)[:, ::2])


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
def test_nothing_decodes_to_nothing(fmt: Format) -> None:
    assert decode(fmt, np.empty((0, 2 * fmt.block_bytes), np.uint8)).shape == (0, 2 * fmt.block)
    assert decode(fmt, np.empty((3, 0), np.uint8)).shape == (3, 0)


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
def test_temporary_memory_is_bounded(fmt: Format) -> None:
    """A tensor of several chunks needs its result and little more, whatever its shape."""
    blocks = 12 * CHUNK_WEIGHTS // fmt.block
    data = np.zeros((1, blocks * fmt.block_bytes), np.uint8)
    tracemalloc.start()
    decoded = decode(fmt, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - decoded.nbytes < 24 * CHUNK_WEIGHTS


def test_bits_per_weight() -> None:
    bits = {fmt.name: fmt.bits_per_weight for fmt in FORMATS.values()}
    assert bits["MXFP4"] == 4.25
    assert bits["Q6_K"] == 6.5625
    assert bits["NVFP4"] == 4.5
    assert bits["F8_E4M3"] == 8


def test_formats_are_read_only() -> None:
    with pytest.raises(FrozenInstanceError):
        FORMATS["Q8_0"].block = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        FORMATS["Q8_0"] = FORMATS["F32"]  # type: ignore[index]


@given(columns=st.integers(-(2**40), 2**40))
def test_row_bytes(columns: int) -> None:
    for fmt in FORMATS.values():
        if columns < 0 or columns % fmt.block:
            with pytest.raises(IngleError, match=r"row length must be a multiple of"):
                fmt.row_bytes(columns)
        else:
            assert fmt.columns(fmt.row_bytes(columns)) == columns


@pytest.mark.parametrize(
    ("ggml_id", "message"),
    [
        (16, r"got 16 \(IQ2_XXS\)"),
        (4, r"got 4 \(removed from GGUF\)"),
        (99, r"got 99 \(unknown\)"),
        (-1, r"got -1 \(unknown\)"),
    ],
)
def test_unreadable_ids_are_named(ggml_id: int, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        by_ggml_id(ggml_id)


def test_every_gguf_type_id_is_known() -> None:
    for ggml_type in gguf.GGMLQuantizationType:
        try:
            by_ggml_id(int(ggml_type))
        except UnsupportedError as error:
            assert f"({ggml_type.name})" in str(error)


@pytest.mark.parametrize(
    "data",
    [np.zeros(33, np.uint8), np.zeros((2, 35), np.uint8), np.zeros(34, np.int8), np.uint8(0)],
)
def test_bad_encoded_data(data: Any) -> None:
    with pytest.raises(IngleError, match=r"\[Q8_0\]"):
        decode(FORMATS["Q8_0"], np.asarray(data))


@pytest.mark.parametrize(
    ("name", "x", "message"),
    [
        ("Q4_K", np.zeros(256, np.float32), "only read"),
        ("Q8_0", np.zeros(31, np.float32), "multiple of 32, but got 31"),
        ("Q8_0", np.zeros(32, np.int32), "rows of floats, but got int32"),
        ("Q8_0", np.float32(1), "rows of floats"),
        ("Q8_0", np.full(32, np.nan, np.float32), "finite float32 numbers, but got nan"),
        ("Q4_1", np.full(32, 1e300), "finite float32 numbers, but got inf"),
        ("Q8_0", np.full(32, 3e38, np.float32), "must fit float16"),
        ("Q5_0", np.full(32, 3e38, np.float32), "must fit float16"),
        ("Q4_1", np.linspace(-3e38, 3e38, 32, dtype=np.float32), "must fit float16"),
        ("Q5_1", np.full(32, -1e5, np.float32), "must fit float16"),
    ],
)
def test_bad_weights(name: str, x: Any, message: str) -> None:
    with pytest.raises(IngleError, match=message):
        encode(FORMATS[name], np.asarray(x))
