"""INT8 of models that are not like Llama: experts, turned and fused weights, biases."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from ingle.errors import UnsupportedError
from ingle.formats import SafetensorsFile
from ingle.formats.compressed_tensors import CompressedFile
from ingle.formats.synth import synthesize
from ingle.quantize.int8.job import write_int8
from ingle.quantize.int8.plan import make_plan
from ingle.quantize.int8.scheme import Scheme

sys.path.insert(0, str(Path(__file__).parent))
from int8_folder import Tensors, edited, logits, rounded, stored, with_zero_points

NONE, DYNAMIC = Scheme(), Scheme(activations="dynamic")


def config_of(scheme: Scheme) -> dict[str, object]:
    return {"quantization_config": scheme.config([])}


def spread(path: Path, other: Path) -> float:
    """How far two models' logits are apart, of their spread."""
    ours, theirs = (logits(one, native=True) for one in (path, other))
    return float(np.sqrt(np.mean((ours - theirs) ** 2)) / theirs.std())


# --- GPT-2: weights stored as (in, out), three of them as one ---


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2") / "plain"
    synthesize("tiny-gpt2", folder, layout="hf")
    return folder


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("part", ["attn.c_attn", "attn.c_proj", "mlp.c_proj"])
def test_turned_weights_of_int8_run(
    gpt2: Path, tmp_path: Path, part: str, zero_points: bool
) -> None:
    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.endswith(f"{part}.weight")]:
            rounded(tensors, name)
            if zero_points:
                with_zero_points(tensors, name)

    weights = edited(gpt2, tmp_path / "none", change, config_of(NONE))
    inputs = edited(gpt2, tmp_path / "dynamic", change, config_of(DYNAMIC))
    for path in (weights, inputs):
        np.testing.assert_array_equal(logits(path, native=True), logits(path, native=False))
    assert 0 < spread(weights, gpt2) < 0.1
    assert 0 < spread(inputs, weights) < 0.3  # parts of a fused weight round their inputs too


# --- experts ---


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen3moe") / "plain"
    synthesize("tiny-qwen3moe", folder, layout="hf")
    return folder


def test_experts_stay_and_are_named(mixture: Path, tmp_path: Path) -> None:
    write_int8(make_plan(mixture, DYNAMIC, {}), tmp_path / "out")
    file = CompressedFile(SafetensorsFile.open(tmp_path / "out"))
    assert file.int8_names and not any(".experts." in name for name in file.int8_names)
    said = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    patterns = [name.removeprefix("re:") for name in said["ignore"] if name.startswith("re:")]
    modules = [name.removesuffix(".weight") for name in file.tensors]
    for module in modules:
        by_pattern = any(re.match(pattern, module) for pattern in patterns)
        assert by_pattern == (".experts." in module)
    assert {name for name in modules if name.endswith("mlp.gate")} <= set(said["ignore"])
    found = logits(tmp_path / "out", native=True)
    np.testing.assert_array_equal(found, logits(tmp_path / "out", native=False))


def experts_rounded(tensors: Tensors) -> None:
    for name in [name for name in tensors if ".experts." in name]:
        rounded(tensors, name)


def test_experts_of_int8_run(mixture: Path, tmp_path: Path) -> None:
    path = edited(mixture, tmp_path / "out", experts_rounded, config_of(NONE))
    np.testing.assert_array_equal(logits(path, native=True), logits(path, native=False))
    assert 0 < spread(path, mixture) < 0.1


@pytest.mark.parametrize("native", [True, False])
def test_experts_whose_inputs_are_to_be_rounded_are_refused(
    mixture: Path, tmp_path: Path, native: bool
) -> None:
    path = edited(mixture, tmp_path / "out", experts_rounded, config_of(DYNAMIC))
    with pytest.raises(UnsupportedError, match="inputs of experts must stay as they are"):
        logits(path, native=native)


# --- biases ---


def test_biases_of_rounded_layers_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    synthesize("tiny-llama", source, layout="hf")
    name = "model.layers.0.self_attn.q_proj.bias"
    biased = edited(
        source,
        tmp_path / "biased",
        lambda t: t.update({name: stored("F32", np.arange(64, dtype=np.float32))}),
    )
    write_int8(make_plan(biased, NONE, {}), tmp_path / "out")
    file = SafetensorsFile.open(tmp_path / "out")
    np.testing.assert_array_equal(file.read(name).view(np.float32).ravel(), np.arange(64))
