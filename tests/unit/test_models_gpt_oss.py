"""A tiny random gpt-oss in every layout against the logits of OpenAI's torch code in float32.

tests/golden/tiny_gpt_oss: `original/` in OpenAI's layout, `hf/` in Hugging Face's, the GGUF made by
llama.cpp's converter. `expected.npz` holds what OpenAI's code says, `expected_truncated_yarn.npz`
a float64 evaluation with llama.cpp's rounded YaRN.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingle.backends import make_backend
from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.formats import GgufFile, SafetensorsFile, open_container
from ingle.formats.gguf_values import typed_metadata
from ingle.formats.writer import TensorSpec, write_gguf
from ingle.models import load_model
from ingle.models.decoder import Decoder
from ingle.ops import Weight
from ingle.runtime import Engine

GOLDEN = Path(__file__).parent.parent / "golden" / "tiny_gpt_oss"
HF, GGUF = GOLDEN / "hf", GOLDEN / "llama_cpp.gguf"
LAYOUTS = {"hf": HF, "original": GOLDEN / "original", "gguf": GGUF}
EXPECTED = np.load(GOLDEN / "expected.npz")
ROUNDED = np.load(GOLDEN / "expected_truncated_yarn.npz")["logits_f64"]
IDS = EXPECTED["tokens"].astype(int).tolist()


def load(path: Path, backend: str = "reference", **options: Any) -> Decoder:
    chosen = make_backend(backend, threads=1, exact=backend == "cpu")
    return load_model(open_container(path), chosen, 64, **options)


def logits(path: Path, backend: str = "reference", **options: Any) -> np.ndarray:
    chosen = make_backend(backend, threads=1, exact=backend == "cpu")
    model = load_model(open_container(path), chosen, 64, **options)
    return Engine(model, chosen, 64).logits(IDS)


def assert_close(ours: np.ndarray, theirs: np.ndarray, backend: str = "reference") -> None:
    tolerance = {"reference": 1e-4, "cpu": 1e-3}[backend]
    assert float(np.abs(ours - theirs).max() / theirs.std()) < tolerance


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_of_openai(layout: str, backend: str) -> None:
    assert_close(logits(LAYOUTS[layout], backend), EXPECTED["logits_f32"], backend)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_of_llama_cpp_s_rounding(layout: str, backend: str) -> None:
    assert_close(logits(LAYOUTS[layout], backend, truncate_yarn=True), ROUNDED, backend)


def test_the_two_roundings_differ() -> None:
    assert np.abs(ROUNDED - EXPECTED["logits_f32"]).max() > 0.01


# The bits of OpenAI's torch code and of transformers, as nine digits.
PUBLISHED = """
1.000000000e+00 6.890442967e-01 4.747820497e-01 3.271458745e-01 2.254180014e-01 1.553229839e-01
1.070244238e-01 7.374456525e-02 5.081327260e-02 3.170569614e-02 1.933499984e-02 1.159204915e-02
6.794959307e-03 3.860359080e-03 2.093792660e-03 1.052602194e-03 4.564839182e-04 1.293186942e-04
3.830881178e-05 2.639646846e-05 1.818833698e-05 1.253256960e-05 8.635495760e-06 5.950239483e-06
4.099978469e-06 2.825066758e-06 1.946596285e-06 1.341290954e-06 9.242089618e-07 6.368209142e-07
4.387978549e-07 3.023511397e-07
"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frequencies_are_the_published_bits(layout: str) -> None:
    rope = load(LAYOUTS[layout]).rotation.rope  # type: ignore[attr-defined]
    expected = np.array(PUBLISHED.split(), np.float64).astype(np.float32)
    np.testing.assert_array_equal(rope.inverse_frequencies, expected)
    assert rope.magnitude == 1.3465735902799727
    assert not rope.interleaved


def test_windows() -> None:
    assert [shape.window for shape in load(HF).attention_shapes] == [8, 0, 8, 0]
    assert [shape.window for shape in load(GGUF).attention_shapes] == [8, 0, 8, 0]


# --- experts keep their bytes ---


def experts_of(path: Path) -> dict[str, np.ndarray]:
    backend = make_backend("reference")
    model: Any = load_model(open_container(path), backend, 64)
    moe = model.layers[2].mlp
    return {part: backend.export(getattr(moe, part).weight) for part in ("gate", "up", "down")}


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_mxfp4_is_moved_and_not_requantized(layout: str) -> None:
    ours = experts_of(LAYOUTS[layout])
    llama_cpp = GgufFile.open(GGUF)
    for part, data in ours.items():
        np.testing.assert_array_equal(data, llama_cpp.read(f"blk.2.ffn_{part}_exps.weight"))


def test_ready_stacks_are_views_of_the_file() -> None:
    container = GgufFile.open(GGUF)
    backend = make_backend("reference")
    model: Any = load_model(container, backend, 64)
    handle: Weight = model.layers[0].mlp.down.weight
    stored = container.read("blk.0.ffn_down_exps.weight")
    assert np.shares_memory(backend.export(handle), stored)
    assert handle.meta.format == "MXFP4"
    assert handle.meta.shape == (8, 128, 96)


# --- Ollama's dialects ---

Edit = Callable[[dict[str, tuple[str, np.ndarray]], GgufFile], None]


def write_like(path: Path, edit: Edit, architecture: str = "gptoss") -> Path:
    """llama.cpp's file under another architecture, tensors {name: (format, rows)} edited."""
    source = GgufFile.open(GGUF)
    tensors = {name: (info.format, source.read(name)) for name, info in source.tensors.items()}
    edit(tensors, source)
    metadata = {
        key.replace("gpt-oss.", f"{architecture}."): value
        for key, value in typed_metadata(source).items()
    }
    metadata["general.architecture"] = architecture
    del metadata[f"{architecture}.rope.scaling.type"]
    specs, old = [], []
    for name, (fmt, rows) in tensors.items():
        old += [name] if fmt == "MXFP4_OLLAMA" else []
        specs.append(TensorSpec(name, fmt.removesuffix("_OLLAMA"), shape_of(fmt, rows)))
    write_gguf(path, metadata, specs, lambda name: tensors[name][1])
    content = bytearray(path.read_bytes())
    for name in old:  # type id 4, which no writer knows any more
        at = content.index(len(name).to_bytes(8, "little") + name.encode()) + 8 + len(name)
        content[at + 4 + 8 * content[at]] = 4
    path.write_bytes(content)
    return path


_BLOCKS = {"F32": (1, 4), "BF16": (1, 2), "MXFP4": (32, 17), "MXFP4_OLLAMA": (32, 17)}


def shape_of(fmt: str, rows: np.ndarray) -> tuple[int, ...]:
    block, block_bytes = _BLOCKS[fmt]
    return (*rows.shape[:-1], rows.shape[-1] // block_bytes * block)


def rename(tensors: dict[str, tuple[str, np.ndarray]], suffix: str) -> None:
    for name in list(tensors):
        new = name.replace("attn_output", "attn_out").replace("post_attention_norm", "ffn_norm")
        new = new.replace("attn_sinks.weight", f"attn_sinks{suffix}")
        tensors[new] = tensors.pop(name)


def as_ollama_s_first(tensors: dict[str, tuple[str, np.ndarray]], source: GgufFile) -> None:
    """Fused and interleaved gate and up, nibbles in OpenAI's order."""
    rename(tensors, "")
    hf = SafetensorsFile.open(HF)
    for n in range(4):
        for part in ("gate_up", "down"):
            name = f"model.layers.{n}.mlp.experts.{part}_proj"
            blocks, scales = hf.read(f"{name}_blocks"), hf.read(f"{name}_scales")
            whole = np.concatenate([scales[..., None], blocks], axis=-1)
            rows = whole.reshape(*scales.shape[:-1], -1)
            tensors[f"blk.{n}.ffn_{part}_exps.weight"] = "MXFP4_OLLAMA", rows
        bias = hf.read(f"model.layers.{n}.mlp.experts.gate_up_proj_bias")
        tensors[f"blk.{n}.ffn_gate_up_exps.bias"] = "BF16", bias
        for part in ("gate", "up"):
            del tensors[f"blk.{n}.ffn_{part}_exps.weight"], tensors[f"blk.{n}.ffn_{part}_exps.bias"]


def as_ollama_s_later(tensors: dict[str, tuple[str, np.ndarray]], source: GgufFile) -> None:
    """Fused q, k and v."""
    rename(tensors, ".weight")
    for n in range(4):
        for kind in ("weight", "bias"):
            names = [f"blk.{n}.attn_{part}.{kind}" for part in "qkv"]
            fmt = tensors[names[0]][0]
            parts = [tensors.pop(name)[1] for name in names]
            joined = np.concatenate(parts)
            tensors[f"blk.{n}.attn_qkv.{kind}"] = fmt, joined


@pytest.mark.parametrize("edit", [as_ollama_s_first, as_ollama_s_later])
def test_ollama_s_dialects(tmp_path: Path, edit: Edit) -> None:
    path = write_like(tmp_path / "ollama.gguf", edit)
    assert_close(logits(path), EXPECTED["logits_f32"])


# --- options ---


def test_fewer_experts_change_the_answer() -> None:
    usual, fewer = logits(HF), logits(HF, num_experts_per_tok=2)
    assert np.abs(usual - fewer).max() > 0.01
    np.testing.assert_array_equal(logits(HF, num_experts_per_tok=4), usual)


@pytest.mark.parametrize("count", [0, -1, 9])
def test_impossible_numbers_of_experts(count: int) -> None:
    with pytest.raises(IngleError, match=rf"from 1 to the model's 8, but got {count}"):
        load(HF, num_experts_per_tok=count)


# --- what strangers write ---


def copied(tmp_path: Path, **changes: Any) -> Path:
    folder = shutil.copytree(HF, tmp_path / "hf")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"hidden_size": 0}, "hidden_size] value must be a whole number from 1 to"),
        ({"hidden_size": True}, "hidden_size] value must be a whole number"),
        ({"hidden_size": "128"}, "hidden_size] value must be a whole number"),
        ({"hidden_size": 10**400}, "hidden_size] value must be a whole number"),
        ({"hidden_size": None}, "hidden_size] value must be a whole number from 1 to 131072"),
        ({"hidden_size": 160}, "must have shape (320, 160), but got (320, 128)"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers] value must be a whole number"),
        ({"num_hidden_layers": 5, "layer_types": None}, "model.layers.4.self_attn.q_proj"),
        ({"num_hidden_layers": 3, "layer_types": None}, "but got 'model.layers.3."),
        ({"num_attention_heads": 3}, "num_key_value_heads] value must divide the 3 heads"),
        ({"head_dim": 31}, "must have shape"),
        ({"num_local_experts": 1}, "num_experts_per_tok] value must be a whole number from 1 to 1"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok] value must be a whole number"),
        ({"intermediate_size": 97}, "must have shape"),
        ({"intermediate_size": 192}, "must have shape"),
        ({"layer_types": ["full_attention"] * 3}, "layer_types] value must be"),
        ({"layer_types": ["full_attention"] * 3 + [[]]}, "layer_types] value must be"),
        ({"layer_types": "full"}, "layer_types] value must be a list"),
        ({"sliding_window": 0}, "sliding_window] value must be a whole number"),
        ({"rms_norm_eps": float("1e300")}, "rms_norm_eps] value must be a number from 0.0 to 1.0"),
        ({"rope_theta": -1}, "rope_theta] value must be a number"),
        ({"rope_scaling": []}, None),
        ({"rope_scaling": [1]}, "rope_scaling] value must be a plain object"),
        ({"rope_scaling": {"full_attention": {}}}, "rope_scaling] value must be a plain object"),
        ({"rope_scaling": {"rope_type": 7}}, "rope_type] value must be a string"),
        ({"rope_scaling": {"rope_type": "x\n\u202e"}}, r"but got 'x\n\u202e'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 0}}, "factor] value must be a number"),
        ({"rope_scaling": {"rope_type": "yarn", "beta_fast": 1e308}}, "beta_fast] value must be"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings] value must be true or false"),
        ({"swiglu_limit": 10.0}, "swiglu_limit] value must be 7.0"),
        ({"hidden_act": "relu"}, "hidden_act] value must be silu"),
        ({"attention_bias": False}, "attention_bias] value must be True"),
        (
            {"quantization_config": {"quant_method": "gptq"}},
            "none, mxfp4 or compressed-tensors, but got 'gptq'",
        ),
        ({"model_type": "mamba"}, "architecture must be one of gpt2, gpt_oss, llama, qwen3"),
        ({"model_type": None}, "architecture must be stated"),
        ({"model_type": "llama", "hidden_act": "silu"}, "attention_bias] value must be False"),
    ],
)
def test_config_of_a_stranger(tmp_path: Path, changes: dict[str, Any], rule: str | None) -> None:
    folder = copied(tmp_path, **changes)
    if rule is None:
        assert_close(logits(folder), EXPECTED["logits_f32"])
        return
    with pytest.raises((FileFormatError, UnsupportedError)) as caught:
        load(folder)
    assert rule in str(caught.value)
    assert str(caught.value).isascii()


def test_no_config(tmp_path: Path) -> None:
    shutil.copy(HF / "model.safetensors", tmp_path)
    with pytest.raises(FileFormatError, match=r"a config\.json must lie beside the tensors"):
        load(tmp_path)


def without(name: str) -> Edit:
    return lambda tensors, source: tensors.pop(name) and None


def surprising(tensors: dict[str, tuple[str, np.ndarray]], source: GgufFile) -> None:
    tensors["blk.0.attn_q.weight.lora_a"] = tensors["output_norm.weight"]


@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        (without("blk.1.attn_q.bias"), "tensor 'blk.1.attn_q.bias' must exist"),
        (without("blk.1.attn_sinks.weight"), "tensor 'blk.1.attn_sinks.weight' must exist"),
        (without("blk.1.ffn_up_exps.weight"), "tensor 'blk.1.ffn_up_exps.weight' must exist"),
        (without("token_embd.weight"), "tensor 'token_embd.weight' must exist"),
        (surprising, "every tensor must be known to the architecture, but got 'blk.0.attn_q.weig"),
    ],
)
def test_tensors_of_a_stranger(tmp_path: Path, edit: Edit, rule: str) -> None:
    path = write_like(tmp_path / "model.gguf", edit)
    with pytest.raises((FileFormatError, UnsupportedError)) as caught:
        load(path)
    assert rule in str(caught.value)
