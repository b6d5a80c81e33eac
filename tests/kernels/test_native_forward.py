"""Native logits are the reference's own bits, whatever instruction set, threads and chunks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingle import LLM, _native
from ingle.errors import IngleError
from ingle.formats import open_container
from ingle.formats.packed import PackedFile, pack, unpack
from ingle.ops import Batch, KvLayout
from ingle.runtime import engine
from ingle.runtime.kv import KvPool, KvSequence

Make = Callable[..., Path]

# Shapes that leave partial tiles (rows % 16), partial column groups and a second KV page.
SHAPES: list[dict[str, Any]] = [
    {},
    {"hidden": 32, "intermediate": 32, "heads": 1, "layers": 1, "tied": False},
    {"hidden": 288, "intermediate": 416, "heads": 8, "kv_heads": 2, "head_dim": 48, "vocab": 257},
    {"hidden": 64, "intermediate": 96, "heads": 10, "kv_heads": 2, "head_dim": 16, "layers": 1},
]
FORMATS = ["Q8_0", "Q4_0", "Q4_1", "IQ4_NL", "MXFP4", "F16", "F32", "BF16", "Q5_0", "Q5_1"]


def random_ids(count: int) -> list[int]:
    return np.random.default_rng(count).integers(0, 256, count).tolist()


def reference_logits(path: Path, ids: list[int], kv_type: str | None = None) -> np.ndarray:
    llm = LLM(path, backend="reference", emulate="q8", context=256, kv_type=kv_type)
    return llm.logits(ids)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_bits_of_every_format_and_shape(tiny_llama: Make, isa: str, fmt: str, shape: int) -> None:
    sizes = SHAPES[shape]
    path = tiny_llama(format=fmt, **sizes)
    ids = random_ids(70)
    with LLM(path, threads=2, context=256) as llm:
        assert llm.kernels == isa
        ours = llm.logits(ids)
    np.testing.assert_array_equal(ours, reference_logits(path, ids))


def test_bits_of_a_copy_in_six_bits(tiny_llama: Make, isa: str, tmp_path: Path) -> None:
    path = tiny_llama(format="Q8_0", tied=False, **SHAPES[2])
    packed = pack(path, tmp_path / "six", head="q6", attention="q6")
    copy = open_container(packed)
    assert isinstance(copy, PackedFile)
    written = unpack(copy, tmp_path / "six.gguf")
    assert open_container(written).tensors["output.weight"].format == "Q6_0"
    ids = random_ids(70)
    with LLM(packed, threads=2, context=256) as llm:
        assert llm.kernels == isa
        ours = llm.logits(ids)
    np.testing.assert_array_equal(ours, reference_logits(written, ids))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 11, 12, 13, 25, 64, 65, 121])
def test_bits_of_every_row_count(tiny_llama: Make, isa: str, count: int) -> None:
    path = tiny_llama()
    ids = random_ids(count)
    with LLM(path, threads=1, context=256) as llm:
        np.testing.assert_array_equal(llm.logits(ids), reference_logits(path, ids))


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_keys_and_values_in_float32(tiny_llama: Make, isa: str, shape: int) -> None:
    path, ids = tiny_llama(**SHAPES[shape]), random_ids(140)
    with LLM(path, threads=2, context=256, kv_type="f32") as llm:
        ours = llm.logits(ids)
    np.testing.assert_array_equal(ours, reference_logits(path, ids, "f32"))
    assert (ours != reference_logits(path, ids)).any()  # which rounds them to float16


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("chunk", [1, 7, 64, 128, 129])
def test_chunks_and_threads_change_no_bit(
    tiny_llama: Make, monkeypatch: pytest.MonkeyPatch, isa: str, threads: int, chunk: int
) -> None:
    path = tiny_llama()
    ids = random_ids(200)
    with LLM(path, threads=1, context=256) as llm:
        whole = llm.logits(ids)
    monkeypatch.setattr(engine, "CHUNK_TOKENS", chunk)
    with LLM(path, threads=threads, context=256) as llm:
        np.testing.assert_array_equal(llm.logits(ids), whole)


@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_spans_of_a_long_context(tiny_llama: Make, isa: str, kv_type: str) -> None:
    """Of a lone token threads take spans; of a chunk one thread folds them: the same bits."""
    path, ids = tiny_llama(layers=1, kv_heads=3), random_ids(1100)
    with LLM(path, threads=1, context=1152, kv_type=kv_type) as llm:
        whole = llm.logits(ids)
    for threads in (2, 3):
        with LLM(path, threads=threads, context=1152, kv_type=kv_type) as llm:
            model = llm.engine.model
            pool = KvPool(KvLayout(model.attention_shapes), 1152, 512, kv_type=kv_type)
            view = KvSequence(pool)
            for start in range(0, 1000, 500):
                batch = Batch.chunk(ids[start : start + 500], start, pool, view, [])
                llm.backend.forward(model, batch)
            for position in range(1000, 1100):
                batch = Batch.chunk(ids[position : position + 1], position, pool, view, [0])
                ours = llm.backend.forward(model, batch)[0]
                np.testing.assert_array_equal(ours, whole[position])


def test_bits_of_a_second_span(tiny_llama: Make, isa: str) -> None:
    path, ids = tiny_llama(layers=1, vocab=257), random_ids(560)
    with LLM(path, threads=2, context=576) as llm:
        ours = llm.logits(ids)
    expected = LLM(path, backend="reference", emulate="q8", context=576).logits(ids)
    np.testing.assert_array_equal(ours, expected)


def test_instruction_sets_agree(tiny_llama: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_llama(format="Q8_0")
    ids = random_ids(130)
    runnable = [name for name, available, _ in _native.instruction_sets() if available]
    every = []
    for name in runnable:
        monkeypatch.setenv("INGLE_CPU", name)
        with LLM(path, threads=2, context=256) as llm:
            assert llm.kernels == name
            every.append(llm.logits(ids))
    for other in every[1:]:
        np.testing.assert_array_equal(other, every[0])


def test_unknown_instruction_set_is_refused(
    tiny_llama: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGLE_CPU", "mmx")
    with pytest.raises(IngleError, match=r"\[INGLE_CPU\] instruction set must be one of .*mmx"):
        LLM(tiny_llama())


def test_integer_arithmetic_stays_near_float(tiny_llama: Make) -> None:
    path = tiny_llama(format="Q8_0")
    ids = random_ids(100)
    with LLM(path, context=256) as llm:
        ours = llm.logits(ids)
    exact = LLM(path, backend="reference", context=256).logits(ids)
    rms = float(np.sqrt(np.mean((ours - exact) ** 2)) / exact.std())
    assert rms < 0.05


def test_activations_beside_bf16_weights_are_rounded_unless_exact(tiny_llama: Make) -> None:
    path = tiny_llama(format="BF16")
    ids = random_ids(100)
    floats = LLM(path, backend="reference", context=256).logits(ids)
    found = {}
    for exact in (True, False):
        with LLM(path, context=256, exact=exact) as llm:
            found[exact] = np.abs(llm.logits(ids) - floats).max() / floats.std()
    assert found[True] < 1e-4 < found[False] < 0.2


def test_float_formats_match_float_arithmetic(tiny_llama: Make) -> None:
    path = tiny_llama(format="F32")
    ids = random_ids(100)
    with LLM(path, context=256, kv_type="f32") as llm:
        ours = llm.logits(ids)
    exact = LLM(path, backend="reference", context=256).logits(ids)
    assert float(np.abs(ours - exact).max() / exact.std()) < 1e-4
