"""Folders that `quantize` writes, in transformers: they load, and say what they say here."""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `oracle`: pip install '.[oracle]'")
pytest.importorskip("transformers", reason="needs the extra `oracle`: pip install '.[oracle]'")

import torch

sys.path.insert(0, str(Path(__file__).parent))
from random_model import CASES, loaded, random_model, their_logits, write_tokenizer
from safetensors.torch import load_file

from ingle.formats import SafetensorsFile
from ingle.formats.convert import convert
from ingle.quantize.folder import for_folder, quantize_folder
from ingle.quantize.imatrix import Entry, Imatrix
from ingle.quantize.job import plan
from ingle.quantize.recipe import Recipe

NAMES = ["gpt_oss", "llama", "llama-tied", "qwen3", "qwen3_moe", "gpt2"]
TINY = Path(__file__).parents[1] / "golden" / "tiny_gpt_oss"


def folder_of(source: Path, target: Path, recipe: Recipe, imatrix: Imatrix | None = None) -> Path:
    quantize_folder(for_folder(plan(source, recipe, imatrix)), target)
    return target


def worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / theirs.std())


@pytest.mark.parametrize("name", NAMES)
def test_around_the_circle_nothing_changes(name: str, tmp_path: Path) -> None:
    model = random_model(CASES[name])
    first = tmp_path / "first"
    model.save_pretrained(first)
    write_tokenizer(first)
    through = convert(first, tmp_path / "model.gguf")
    second = folder_of(through, tmp_path / "second", Recipe("F32"))
    ids = CASES[name].ids
    assert np.array_equal(their_logits(loaded(second), ids), their_logits(loaded(first), ids))
    direct = folder_of(first, tmp_path / "direct", Recipe("F32"))
    ours, theirs = (load_file(path / "model.safetensors") for path in (direct, second))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key].float(), theirs[key].float()) for key in ours)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_rounds_matrices_as_torch_does(name: str, tmp_path: Path) -> None:
    model = random_model(CASES[name])
    model.save_pretrained(tmp_path / "source")
    write_tokenizer(tmp_path / "source")
    stored = load_file(tmp_path / "source" / "model.safetensors")
    made = load_file(
        folder_of(tmp_path / "source", tmp_path / "out", Recipe("BF16")) / "model.safetensors"
    )
    rounded = [key for key in made if made[key].dtype == torch.bfloat16]
    assert len(rounded) > 10
    for key, tensor in made.items():
        assert torch.equal(tensor, stored[key].to(tensor.dtype)), key


def test_blocks_of_gpt_oss_are_those_of_its_folder(tmp_path: Path) -> None:
    made = SafetensorsFile.open(
        folder_of(TINY / "llama_cpp.gguf", tmp_path / "out", Recipe("BF16"))
    )
    published = SafetensorsFile.open(TINY / "hf")
    assert made.tensors.keys() == published.tensors.keys()
    for name in made.tensors:
        assert made.read(name).tobytes() == published.read(name).tobytes(), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["ggml", "search"])
def test_experts_in_mxfp4_are_what_transformers_decodes(method: str, tmp_path: Path) -> None:
    model = random_model(CASES["gpt_oss"])
    source, out = tmp_path / "source", tmp_path / "out"
    model.save_pretrained(source)
    write_tokenizer(source)
    planned = for_folder(plan(source, Recipe("MXFP4_MOE"), _uneven(model), method))
    quantize_folder(planned, out, threads=2)
    theirs, ours = loaded(out), plan(out, Recipe("F32")).model.tensors
    for n, layer in enumerate(theirs.model.layers):
        experts = layer.mlp.experts
        decoded = experts.gate_up_proj.detach().float().numpy().transpose(0, 2, 1)
        for half, part in enumerate(("gate", "up")):
            tensor = ours[f"blk.{n}.ffn_{part}_exps.weight"]
            blocks = tensor.rows(0, tensor.shape[0])
            expected = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType.MXFP4)
            assert np.array_equal(decoded[:, half::2], expected)
            original = model.model.layers[n].mlp.experts.gate_up_proj.detach().numpy()
            wrong = np.square(expected - original.transpose(0, 2, 1)[:, half::2]).mean()
            assert 0 < wrong < 0.03 * np.square(original).mean()


@pytest.mark.filterwarnings("ignore")
def test_logits_of_mxfp4(logits, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = folder_of(TINY / "hf", tmp_path / "out", Recipe("MXFP4_MOE"))
    ids = [int(i) for i in np.random.default_rng(3).integers(0, 96, 40)]
    assert worst(logits(out, ids), their_logits(loaded(out), ids)) < 1e-4


def _uneven(model: torch.nn.Module) -> Imatrix:
    """An importance matrix in which columns differ, and experts too."""
    rng, entries = np.random.default_rng(0), {}
    config = model.config
    for n in range(config.num_hidden_layers):
        for part in ("gate", "up", "down"):
            columns = config.intermediate_size if part == "down" else config.hidden_size
            sums = rng.random((config.num_local_experts, columns)) + 0.1
            counts = np.full(config.num_local_experts, 7.0)
            entries[f"blk.{n}.ffn_{part}_exps.weight"] = Entry(sums, counts)
    return Imatrix(entries, ("made up",), 1)
