"""Rearranging stored tensors: every row and column arrives where it should, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.backends import make_backend
from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.formats import TensorInfo
from ingle.models.checkpoint import Checkpoint, Section
from ingle.models.config import Config
from ingle.models.experts import EVEN_ROWS, ODD_ROWS, from_blocks, from_columns, from_each, stacked
from ingle.models.names import Layout
from ingle.models.rope import rope_table
from ingle.numerics import FORMATS, decode, encode
from ingle.numerics.mxfp4 import decode_openai

ITEM = {"F32": 4, "F16": 2, "BF16": 2, "U8": 1, "I64": 8}


@dataclass
class Memory:
    """A container of arrays."""

    arrays: dict[str, tuple[str, np.ndarray]]  # name: (format, rows of bytes)
    path: Path = Path("memory")
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.tensors = {
            name: TensorInfo(
                name, fmt, self._shape(fmt, data), data.shape[-1], data.nbytes, self.path, 0
            )
            for name, (fmt, data) in self.arrays.items()
        }

    @staticmethod
    def _shape(fmt: str, data: np.ndarray) -> tuple[int, ...]:
        columns = FORMATS[fmt].columns if fmt in FORMATS else lambda n: n // ITEM[fmt]
        return (*data.shape[:-1], columns(data.shape[-1]))

    def read(self, name: str) -> np.ndarray:
        return self.arrays[name][1]


def section(arrays: dict[str, tuple[str, np.ndarray]]) -> Section:
    names = {name: name for name in arrays} | {"block": "b.{}.", "expert": "{}.", "missing": "no"}
    names |= {"each": "each"}
    config = Config("memory", {}, {}, strict=True)
    backend = make_backend("reference")
    return Checkpoint(Memory(arrays), backend, Layout.HUGGING_FACE, names, config).top


def floats(fmt: str, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Random values that the format keeps, and their bytes."""
    data = encode(FORMATS[fmt], np.random.default_rng(sum(shape)).standard_normal(shape))
    return decode(FORMATS[fmt], data), data


SIZES = st.integers(1, 6)
FLOATS = st.sampled_from(["F32", "F16", "BF16"])


@given(FLOATS, SIZES, SIZES, SIZES)
def test_dequantized_experts(fmt: str, experts: int, rows: int, columns: int) -> None:
    values, data = floats(fmt, experts, columns, 2 * rows)
    shape = (experts, rows, columns)
    for part, first in ((EVEN_ROWS, 0), (ODD_ROWS, 1)):
        tensor = from_columns(section({"t": (fmt, data)}), "t", shape, part)
        expected = values[:, :, first::2].transpose(0, 2, 1)
        np.testing.assert_array_equal(decode(FORMATS[fmt], tensor.data), expected)


@given(SIZES, SIZES, st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_openai_s_blocks(experts: int, rows: int, groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (experts, 2 * rows, groups, 16), np.uint8)
    scales = rng.integers(90, 160, (experts, 2 * rows, groups), np.uint8)
    s = section({"t_blocks": ("U8", codes), "t_scales": ("U8", scales)})
    expected = decode_openai(codes, scales)
    for part in (EVEN_ROWS, ODD_ROWS):
        tensor = from_blocks(s, "t_blocks", "t_scales", (experts, rows, 32 * groups), part)
        np.testing.assert_array_equal(
            decode(FORMATS[tensor.format], tensor.data), expected[:, part]
        )


@given(st.sampled_from(["F32", "BF16", "Q8_0"]), SIZES, SIZES)
def test_one_matrix_per_expert(fmt: str, experts: int, rows: int) -> None:
    values, data = floats(fmt, experts, rows, 32)
    s = section({f"{e}.each.weight": (fmt, data[e]) for e in range(experts)})
    tensor = from_each(s, "each", (experts, rows, 32))
    np.testing.assert_array_equal(decode(FORMATS[fmt], tensor.data), values)
    assert not s.checkpoint.unused


@given(FLOATS, SIZES, SIZES, SIZES, st.booleans())
def test_layers_stored_as_one(fmt: str, q: int, k: int, columns: int, turned: bool) -> None:
    values, data = floats(fmt, *((columns, q + 2 * k) if turned else (q + 2 * k, columns)))
    bias, bias_data = floats("F32", q + 2 * k)
    s = section({"t.weight": (fmt, data), "t.bias": ("F32", bias_data)})
    s.checkpoint.names = {"t": "t"}
    parts = s.split("t", (q, k, k), columns, bias=True, transposed=turned)
    export = s.checkpoint.backend.export
    weights = [decode(FORMATS[fmt], export(part.weight)) for part in parts]
    np.testing.assert_array_equal(np.concatenate(weights), values.T if turned else values)
    assert [w.shape[0] for w in weights] == [q, k, k]
    biases = [export(part.bias).view(np.float32).reshape(-1) for part in parts if part.bias]
    np.testing.assert_array_equal(np.concatenate(biases), bias)


def test_a_stack_of_one_expert_may_have_lost_its_dimension() -> None:
    values, data = floats("F32", 3, 32)
    tensor = stacked(section({"t": ("F32", data)}), "t", (1, 3, 32))
    np.testing.assert_array_equal(decode(FORMATS["F32"], tensor.data), values[None])


def test_what_does_not_fit_is_refused() -> None:
    _, data = floats("Q8_0", 2, 3, 32)
    s = section({"t": ("Q8_0", data), "u": ("U8", np.zeros((2, 3, 1, 16), np.uint8))})
    with pytest.raises(UnsupportedError, match="must be one of F32, F16, BF16, but got Q8_0"):
        from_columns(s, "t", (2, 32, 3))
    with pytest.raises(FileFormatError, match=r"must have shape \(2, 4, 32\), but got \(2, 3, 32"):
        stacked(s, "t", (2, 4, 32))
    with pytest.raises(FileFormatError, match=r"whole blocks of 32, but got 31 columns"):
        from_blocks(s, "u", "u", (2, 3, 31))
    with pytest.raises(FileFormatError, match=r"'no\.weight' must exist"):
        s.vector("missing", 3)
    with pytest.raises(UnsupportedError, match=r"but got 'u' \(1 such\)"):
        s.checkpoint.finish()


def test_each_expert_in_one_format() -> None:
    s = section(
        {f"{e}.each.weight": (fmt, floats(fmt, 2, 4)[1]) for e, fmt in enumerate(("F32", "F16"))}
    )
    with pytest.raises(FileFormatError, match=r"1\.each\.weight must be F32, but got F16"):
        from_each(s, "each", (2, 2, 4))


def test_integers_are_no_weights() -> None:
    s = section({"t": ("I64", np.zeros((2, 16), np.uint8))})
    with pytest.raises(FileFormatError, match="must be of a known number format, but got I64"):
        s.matrix("t", 2, 2)


# --- rotation ---

NUMBERS = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(-(10**30), 10**30), st.text(max_size=3)
)
KEYS = [
    "rope_theta",
    "factor",
    "beta_fast",
    "beta_slow",
    "truncate",
    "attention_factor",
    "mscale",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
]


@given(
    st.dictionaries(st.sampled_from(KEYS), NUMBERS),
    st.sampled_from(["default", "yarn", "llama3", "none", "linear"]),
    st.integers(1, 64),
)
def test_any_settings_give_frequencies_or_a_reason(
    values: dict[str, Any], kind: str, half: int
) -> None:
    config = Config("config.json", {**values, "rope_type": kind}, {}, strict=False)
    try:
        table = rope_table(config, 2 * half, 1)
    except IngleError as error:
        assert str(error).startswith("[config.json ")
        return
    assert table.inverse_frequencies.shape == (half,)
    assert table.inverse_frequencies.dtype == np.float32
    assert np.isfinite(table.inverse_frequencies).all()
    assert (table.inverse_frequencies >= 0).all()


def test_divisors_of_gguf() -> None:
    divisors = np.arange(1, 9, dtype=np.float32)
    plain = rope_table(Config("x", {}, {}, strict=True), 16, 1).inverse_frequencies
    ours = rope_table(Config("x", {}, {}, strict=True), 16, 1, divisors=divisors)
    np.testing.assert_array_equal(ours.inverse_frequencies, plain / divisors)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_impossible_divisors(bad: float) -> None:
    divisors = np.array([1, bad, 1, 1], np.float32)
    with pytest.raises(FileFormatError, match="divisors of rotary frequencies must be above 0"):
        rope_table(Config("x", {}, {}, strict=True), 8, 1, divisors=divisors)


def test_yarn_options_need_yarn() -> None:
    with pytest.raises(IngleError, match=r"\[truncate_yarn\].*it is default"):
        rope_table(Config("x", {}, {}, strict=True), 16, 1, truncate_yarn=True)
