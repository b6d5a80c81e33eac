"""MXFP4's two codecs and two encoding rules, and NVFP4's scales."""

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
from ingle.numerics import FORMATS, Format, decode, encode
from ingle.numerics.mxfp4 import (
    MXFP4,
    MXFP4_ROUND_UP,
    decode_openai,
    gguf_to_openai,
    interleaved_to_gguf,
    openai_to_gguf,
)
from ingle.numerics.nibbles import split_nibbles

GOLDEN = Path(__file__).parents[1] / "golden" / "quant_vectors_small_floats.json.gz"
VECTORS: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
TIES = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]
# gpt_oss.torch.weights: FP4_VALUES
OPENAI_VALUES = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]


def array(name: str, key: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(VECTORS[name][key]), dtype)


def openai_oracle(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """As gpt-oss unpacks: low nibble first, then ldexp by scale - 127."""
    values = np.float32(OPENAI_VALUES)
    out = np.empty((*blocks.shape[:-1], 32), np.float32)
    out[..., 0::2] = values[blocks & 15]
    out[..., 1::2] = values[blocks >> 4]
    with np.errstate(over="ignore"):
        out = np.ldexp(out, scales.astype(np.int32)[..., None] - 127)
    return out.reshape(*blocks.shape[:-2], -1)


openai_tensors = st.tuples(
    hnp.arrays(np.uint8, (2, 3, 16)),
    hnp.arrays(np.uint8, (2, 3)),
)


@given(openai_tensors)
def test_openai_decode_equals_its_definition(tensor: tuple[np.ndarray, np.ndarray]) -> None:
    ours, oracle = decode_openai(*tensor), openai_oracle(*tensor)
    np.testing.assert_array_equal(ours.view(np.uint32), oracle.view(np.uint32))


@given(openai_tensors)
def test_codecs_agree_in_value(tensor: tuple[np.ndarray, np.ndarray]) -> None:
    """Only the sign of zero differs."""
    rows = openai_to_gguf(*tensor)
    assert rows.shape == (2, 3 * 17)
    np.testing.assert_array_equal(decode(MXFP4, rows), decode_openai(*tensor))


@given(openai_tensors)
def test_codec_change_is_lossless(tensor: tuple[np.ndarray, np.ndarray]) -> None:
    blocks, scales = gguf_to_openai(openai_to_gguf(*tensor))
    np.testing.assert_array_equal(blocks, tensor[0])
    np.testing.assert_array_equal(scales, tensor[1])


@given(openai_tensors)
def test_interleaved_blocks(tensor: tuple[np.ndarray, np.ndarray]) -> None:
    blocks, scales = tensor
    rows = np.concatenate([scales[..., None], blocks], axis=-1).reshape(2, -1)
    np.testing.assert_array_equal(interleaved_to_gguf(rows), openai_to_gguf(blocks, scales))


def test_scales_at_both_ends() -> None:
    codes = np.full((1, 16), 0x77, np.uint8)
    for exponent, value in [(0, 6 * 2.0**-127), (1, 6 * 2.0**-126), (254, np.inf)]:
        scales = np.uint8([exponent])
        assert decode_openai(codes, scales)[0] == value
        assert decode(MXFP4, openai_to_gguf(codes, scales))[0] == value


def encode_block(fmt: Format, *values: float) -> tuple[int, list[float]]:
    """Exponent byte and the decoded head of a block of `values` and zeros."""
    x = np.zeros(32, np.float32)
    x[: len(values)] = values
    data = encode(fmt, x)
    return int(data[0]), decode(fmt, data)[: len(values)].tolist()


@pytest.mark.parametrize("sign", [1, -1])
def test_ties(sign: int) -> None:
    """6 makes the scale 1 under both rules."""
    ties = [sign * tie for tie in (6.0, *TIES)]
    toward_zero = [sign * y for y in (6.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)]
    to_even = [sign * y for y in (6.0, 0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0)]
    assert encode_block(MXFP4, *ties) == (127, toward_zero)
    assert encode_block(MXFP4_ROUND_UP, *ties) == (127, to_even)


@pytest.mark.parametrize(
    ("largest", "floor", "round_up"),
    [(6.0, 127, 127), (6.0001, 127, 128), (7.9, 127, 128), (8.0, 128, 128), (4.0, 127, 127)],
)
def test_scale_rules(largest: float, floor: int, round_up: int) -> None:
    assert encode_block(MXFP4, largest)[0] == floor
    assert encode_block(MXFP4_ROUND_UP, largest)[0] == round_up


def test_floor_rule_equals_gguf_around_powers_of_two() -> None:
    powers = np.float32(2) ** np.arange(-100, 100, dtype=np.float32)
    x = np.zeros((3 * len(powers), 32), np.float32)
    x[:, 0] = np.concatenate([powers, np.nextafter(powers, 0), np.nextafter(powers, np.inf)])
    x[:, 1] = x[:, 0] * np.float32(0.3)
    expected = gguf.quants.quantize(x, gguf.GGMLQuantizationType.MXFP4)
    np.testing.assert_array_equal(encode(MXFP4, x), expected)


@pytest.mark.parametrize("largest", [2.5e38, 1e-38, 1e-45, 2.0**-125, 2.0**-126])
def test_largest_and_smallest_blocks(largest: float) -> None:
    for fmt in (MXFP4, MXFP4_ROUND_UP):
        _, (first, second) = encode_block(fmt, largest, -largest)
        assert first == -second
        assert abs(first - largest) <= largest / 4 + 2.0**-128


def test_round_up_equals_ml_dtypes() -> None:
    x = array("MXFP4_ROUND_UP", "x", "<f4").reshape(-1, 32)
    data = encode(MXFP4_ROUND_UP, x)
    np.testing.assert_array_equal(data[:, 0], array("MXFP4_ROUND_UP", "exponents", "u1"))
    codes = array("MXFP4_ROUND_UP", "codes", "u1").reshape(-1, 32)
    np.testing.assert_array_equal(split_nibbles(data[:, 1:]), codes)


def test_round_up_rounds_as_e2m1() -> None:
    """All ties, their neighbours and floats below 6, each in a block whose scale is 1."""
    x = array("E2M1", "x", "<f4")
    inside = np.abs(x) <= 6
    blocks = np.zeros((inside.sum(), 32), np.float32)
    blocks[:, 0], blocks[:, 1] = 6, x[inside]
    codes = split_nibbles(encode(MXFP4_ROUND_UP, blocks)[:, 1:])[:, 1]
    np.testing.assert_array_equal(codes, array("E2M1", "codes", "u1")[inside])


@pytest.mark.parametrize("fmt", [MXFP4, MXFP4_ROUND_UP])
@given(
    blocks=hnp.arrays(np.uint8, (4, 17)),
    exponent=st.integers(4, 250),
)
def test_encoding_again_keeps_values(fmt: Format, blocks: np.ndarray, exponent: int) -> None:
    blocks[:, 0] = exponent
    values = decode(fmt, blocks)
    np.testing.assert_array_equal(decode(fmt, encode(fmt, values)), values)


def test_bad_openai_tensors() -> None:
    scales = np.zeros((2, 3), np.uint8)
    for blocks in (np.zeros((2, 3, 15), np.uint8), np.zeros((3, 16), np.uint8)):
        with pytest.raises(IngleError, match=r"16 bytes for every scale"):
            openai_to_gguf(blocks, scales)
    with pytest.raises(IngleError, match=r"must be uint8, but got int8"):
        decode_openai(np.zeros((2, 3, 16), np.int8), scales)
    with pytest.raises(IngleError, match=r"multiple of 17, but got 16"):
        gguf_to_openai(np.zeros((2, 16), np.uint8))


# --- NVFP4 ---


def nvfp4_scan(x: np.ndarray) -> np.ndarray:
    """GGML's encoder as it is written: gguf's scale, then a scan that keeps the first best."""
    kind = gguf.quants.NVFP4
    sub_blocks = x.reshape(-1, 4, 16)
    scales = kind.fp32_to_ue4m3(np.abs(sub_blocks).max(axis=2) / np.float32(6))
    half = kind.ue4m3_to_fp32(scales).astype(np.float32)[:, :, None, None]
    distance = np.abs(half * np.float32(kind.kvalues) - sub_blocks[..., None])
    codes = distance.argmin(axis=3).astype(np.uint8)
    packed = codes[:, :, :8] | (codes[:, :, 8:] << 4)
    return np.concatenate([scales, packed.reshape(-1, 32)], axis=1)


@pytest.mark.parametrize("spread", [0.0, 6.0, 14.0])
def test_nvfp4_encode_equals_a_scan(spread: float) -> None:
    rng = np.random.default_rng(3)
    size = 2.0 ** rng.uniform(-spread, spread, (500, 64))
    x = (rng.standard_normal((500, 64)) * size).astype(np.float32)
    x[::5] = np.round(x[::5] * 4) / 4
    np.testing.assert_array_equal(encode(FORMATS["NVFP4"], x), nvfp4_scan(x))
