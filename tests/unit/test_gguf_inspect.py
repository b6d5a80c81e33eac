"""The summary of a model: parameters, bits per weight, vocabulary, and why it would not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ingle.cli.inspect import inspect
from ingle.errors import IngleError
from ingle.formats import open_container
from ingle.formats.facts import MODEL_TYPES
from ingle.formats.summary import summarize
from ingle.formats.support import RUNS
from ingle.formats.writer import TensorSpec, write_gguf
from ingle.models.architecture import ARCHITECTURES


def zeros(sizes: dict[str, int]) -> Any:
    return lambda name: b"\0" * sizes[name]


def write_moe(path: Path, architecture: str = "gpt-oss", **metadata: Any) -> None:
    specs = [
        TensorSpec("token_embd.weight", "Q8_0", (10, 64)),
        TensorSpec("output.weight", "Q8_0", (10, 64)),
        TensorSpec("blk.0.ffn_up_exps.weight", "MXFP4", (4, 64, 64)),
        TensorSpec("blk.0.attn_norm.weight", "F32", (64,)),
    ]
    sizes = {specs[0].name: 680, specs[1].name: 680, specs[2].name: 8704, specs[3].name: 256}
    stated = {
        "general.architecture": architecture,
        f"{architecture}.expert_count": 4,
        f"{architecture}.expert_used_count": 1,
        f"{architecture}.block_count": 1,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "<|\x1b[31mred|>"],
        "tokenizer.ggml.eos_token_id": 1,
        "odd": float("nan"),
    }
    write_gguf(path, stated | metadata, specs, zeros(sizes))


def test_parameters_and_bits(tmp_path: Path) -> None:
    write_moe(tmp_path / "moe.gguf")
    summary = summarize(open_container(tmp_path / "moe.gguf"))
    assert summary.num_parameters == 640 + 640 + 16384 + 64
    # One expert of four; the embedding is a lookup, the output matrix is used.
    assert summary.num_active_parameters == 640 + 4096 + 64
    bits = {share.format: share.bits_per_weight for share in summary.shares}
    assert bits == {"MXFP4": 4.25, "Q8_0": 8.5, "F32": 32.0}
    assert summary.weights_bytes == 680 + 680 + 8704 + 256
    assert summary.facts.architecture == "gpt_oss"
    assert summary.facts.sizes["num_local_experts"] == 4
    assert summary.vocabulary is not None
    assert summary.vocabulary.special["eos"] == (1, "<|\x1b[31mred|>")
    assert summary.problems == ()


def test_openai_folder_counts_blocks_as_weights(tmp_path: Path) -> None:
    save_file(
        {
            "embedding.weight": np.zeros((8, 32), np.float16),
            "unembedding.weight": np.zeros((8, 32), np.float16),
            "block.0.mlp.mlp1_weight.blocks": np.zeros((4, 6, 1, 16), np.uint8),
            "block.0.mlp.mlp1_weight.scales": np.zeros((4, 6, 1), np.uint8),
        },
        tmp_path / "model.safetensors",
    )
    config = {"num_experts": 4, "experts_per_token": 2, "swiglu_limit": 7.0, "hidden_size": 32}
    (tmp_path / "config.json").write_text(json.dumps(config))
    summary = summarize(open_container(tmp_path))
    assert summary.facts.layout == "OpenAI"
    assert summary.num_parameters == 256 + 256 + 768
    assert summary.num_active_parameters == 256 + 384
    assert {share.format: share.bits_per_weight for share in summary.shares} == {
        "F16": 16.0,
        "MXFP4": 4.25,
    }


def test_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_moe(tmp_path / "moe.gguf")
    assert inspect(str(tmp_path / "moe.gguf"), as_json=True, tensors=True) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["architecture"] == "gpt_oss"
    assert shown["runs"] is True
    assert shown["metadata"]["odd"] is None
    assert shown["metadata"]["tokenizer.ggml.tokens"]["strings"] == 2
    assert [tensor["format"] for tensor in shown["tensors"]] == ["Q8_0", "Q8_0", "MXFP4", "F32"]


def test_text_shows_every_fact_and_no_control_character(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_moe(tmp_path / "moe.gguf", **{"general.name": "red\x1b[31m\nmodel"})
    assert inspect(str(tmp_path / "moe.gguf"), as_json=False, tensors=True) == 0
    shown = capsys.readouterr().out
    for fact in ("GGUF v3", "17,728", "MXFP4", "4.250", "4 x 64 x 64", "eos 1"):
        assert fact in shown
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"general.type": "imatrix"}, "this is an importance matrix, not a model"),
        ({"general.architecture": "mamba"}, "but got mamba"),
        ({"general.architecture": 7}, "but got none stated"),
        ({"tokenizer.ggml.tokens": "none"}, "there is no tokenizer beside the weights"),
    ],
)
def test_problems(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    write_moe(tmp_path / "model.gguf", **change)
    problems = summarize(open_container(tmp_path / "model.gguf")).problems
    assert any(problem in found for found in problems)


def test_formats_without_a_decoder_are_told(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    spec = TensorSpec("blk.0.ffn_up.weight", "IQ2_XXS", (2, 256))
    write_gguf(path, {"general.architecture": "llama"}, [spec], zeros({spec.name: 132}))
    problems = summarize(open_container(path)).problems
    assert "tensors of IQ2_XXS can be copied but not computed with (1 of them)" in problems


def test_damaged_config_is_named(tmp_path: Path) -> None:
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(IngleError, match=r"config\.json\] file must be valid JSON"):
        inspect(str(tmp_path), as_json=False, tensors=False)


def test_the_table_of_what_runs_is_that_of_the_models() -> None:
    assert {MODEL_TYPES.get(name, name) for name in ARCHITECTURES} == set(RUNS)
