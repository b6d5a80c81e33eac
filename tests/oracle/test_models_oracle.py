"""Every architecture against transformers in float32, on small random models of awkward shapes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `oracle`: pip install '.[oracle]'")
pytest.importorskip("transformers", reason="needs the extra `oracle`: pip install '.[oracle]'")

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

sys.path.insert(0, str(Path(__file__).parent))
from random_model import CASES, YARN, loaded, random_model, their_logits, write_tokenizer

from ingle.formats.convert import convert
from ingle.models.config import Config
from ingle.models.rope import rope_table

Logits = Callable[..., np.ndarray]

TOLERANCE = {"reference": 1e-4, "cpu": 1e-3}  # of the standard deviation of the logits
CONVERTIBLE = ["llama", "llama-tied", "qwen3", "qwen3_moe", "gpt2"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, np.ndarray]]:
    """Folder of a case as transformers saved it, and transformers' logits."""
    made: dict[str, tuple[Path, np.ndarray]] = {}

    def make(name: str) -> tuple[Path, np.ndarray]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            model = random_model(CASES[name])
            model.save_pretrained(folder)
            made[name] = folder, their_logits(model, CASES[name].ids)
        return made[name]

    return make


Saved = Callable[[str], tuple[Path, np.ndarray]]


def assert_close(ours: np.ndarray, theirs: np.ndarray, backend: str) -> None:
    worst = float(np.abs(ours - theirs).max() / theirs.std())
    assert worst < TOLERANCE[backend]


@pytest.mark.parametrize("backend", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_logits(logits: Logits, saved: Saved, name: str, backend: str) -> None:
    folder, theirs = saved(name)
    assert_close(logits(folder, CASES[name].ids, backend), theirs, backend)


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_logits_of_gguf(logits: Logits, saved: Saved, tmp_path: Path, name: str) -> None:
    folder, theirs = saved(name)
    source = shutil.copytree(folder, tmp_path / "source")
    write_tokenizer(source)
    path = convert(source, tmp_path / "model.gguf")
    assert_close(logits(path, CASES[name].ids), theirs, "reference")


@pytest.mark.parametrize("name", ["gpt_oss", "qwen3_moe"])
@pytest.mark.parametrize("count", [1, 5])
def test_another_number_of_experts(logits: Logits, saved: Saved, name: str, count: int) -> None:
    folder, usual = saved(name)
    theirs = their_logits(loaded(folder, num_experts_per_tok=count), CASES[name].ids)
    assert np.abs(theirs - usual).max() > 0.1
    ours = logits(folder, CASES[name].ids, num_experts_per_tok=count)
    assert_close(ours, theirs, "reference")


def test_rounded_yarn_on_request(logits: Logits, saved: Saved) -> None:
    folder, theirs = saved("gpt_oss")
    rounded_folder, rounded = saved("gpt_oss-rounded-yarn")
    ids = CASES["gpt_oss"].ids
    assert np.abs(rounded - theirs).max() > 0.01
    assert_close(logits(folder, ids, truncate_yarn=True), rounded, "reference")
    assert_close(logits(rounded_folder, ids, truncate_yarn=False), theirs, "reference")


@pytest.mark.parametrize("name", ["gpt_oss", "llama-tied", "gpt2"])
def test_bf16_files(logits: Logits, tmp_path: Path, name: str) -> None:
    random_model(CASES[name]).bfloat16().save_pretrained(tmp_path)
    ids = CASES[name].ids
    assert_close(logits(tmp_path, ids), their_logits(loaded(tmp_path), ids), "reference")


def test_shards(logits: Logits, tmp_path: Path) -> None:
    model = random_model(CASES["gpt_oss"])
    model.save_pretrained(tmp_path, max_shard_size="300KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ids = CASES["gpt_oss"].ids
    assert_close(logits(tmp_path, ids), their_logits(model, ids), "reference")


def test_first_published_gpt2(logits: Logits, saved: Saved, tmp_path: Path) -> None:
    # Names without "transformer.", and the causal masks beside the weights.
    folder, theirs = saved("gpt2")
    weights = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): weight for name, weight in weights.items()}
    bare |= {f"h.{n}.attn.bias": torch.ones(1, 1, 200, 200) for n in range(3)}
    save_file(bare, tmp_path / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert_close(logits(tmp_path, CASES["gpt2"].ids), theirs, "reference")


def test_frequencies_are_those_of_torch() -> None:
    theirs, magnitude = ROPE_INIT_FUNCTIONS["yarn"](transformers.GptOssConfig())
    ours = rope_table(Config("test", YARN, {}, strict=False), 64, 1)
    np.testing.assert_array_equal(ours.inverse_frequencies, theirs.numpy())
    assert ours.magnitude == magnitude
