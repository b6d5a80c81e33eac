"""Conversions lose nothing: values by `gguf`'s decoder and name table, bytes around the circle."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ingle.errors import IngleError
from ingle.formats import GgufFile, open_container
from ingle.formats.convert import convert
from ingle.formats.convert.vocabulary import keys_of_o200k_harmony
from ingle.formats.gguf_values import typed_metadata
from ingle.formats.writer import TensorSpec, write_gguf, write_safetensors
from ingle.numerics import FORMATS, decode
from ingle.tokenizer import from_gguf_metadata

LAYERS, HIDDEN, INNER, EXPERTS, VOCAB = 2, 64, 32, 3, 12
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 8
Q, KV = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
GPT_OSS_CONFIG = {
    "model_type": "gpt_oss",
    "num_hidden_layers": LAYERS,
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "num_local_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "sliding_window": 8,
    "vocab_size": VOCAB,
    "max_position_embeddings": 131072,
    "initial_context_length": 4096,
    "rope_theta": 150000,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 32.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "original_max_position_embeddings": 4096,
        "truncate": False,
    },
    "rms_norm_eps": 1e-5,
    "swiglu_limit": 7.0,
    "layer_types": ["sliding_attention", "full_attention"],
}


def write_folder(folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> Path:
    """A Hugging Face folder of random BF16 (U8 for packed experts) tensors and a tokenizer."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(len(shapes))
    data: dict[str, np.ndarray] = {}
    specs = []
    for name, shape in shapes.items():
        packed = name.endswith(("_blocks", "_scales"))
        values = random.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16
        blocks = random.integers(0, 256, shape, dtype=np.uint8)
        scales = random.integers(100, 130, shape, dtype=np.uint8)
        data[name] = values.astype(np.uint16)
        if packed:
            data[name] = blocks if name.endswith("_blocks") else scales
        specs.append(TensorSpec(name, "U8" if packed else "BF16", shape))
    write_safetensors(folder / "model.safetensors", {}, specs, lambda name: data[name])
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    vocab = {token: i for i, token in enumerate(["a", "b", "Ġ", "c", "ab", "Ġc", "abĠc"])}
    merges = [("a", "b"), ("Ġ", "c"), ("ab", "Ġc")]
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": {"content": "<|end|>"}, "chat_template": "{{ messages }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def gpt_oss_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCAB, HIDDEN),
    }
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        shapes |= {
            layer + "input_layernorm.weight": (HIDDEN,),
            layer + "post_attention_layernorm.weight": (HIDDEN,),
            layer + "self_attn.sinks": (HEADS,),
            layer + "self_attn.o_proj.weight": (HIDDEN, Q),
            layer + "self_attn.o_proj.bias": (HIDDEN,),
            layer + "mlp.router.weight": (EXPERTS, HIDDEN),
            layer + "mlp.router.bias": (EXPERTS,),
        }
        for part, size in (("q", Q), ("k", KV), ("v", KV)):
            shapes[f"{layer}self_attn.{part}_proj.weight"] = (size, HIDDEN)
            shapes[f"{layer}self_attn.{part}_proj.bias"] = (size,)
        for part, rows, columns in (("gate_up", 2 * INNER, HIDDEN), ("down", HIDDEN, INNER)):
            experts = f"{layer}mlp.experts.{part}_proj"
            shapes[experts + "_blocks"] = (EXPERTS, rows, columns // 32, 16)
            shapes[experts + "_scales"] = (EXPERTS, rows, columns // 32)
            shapes[experts + "_bias"] = (EXPERTS, rows)
    return shapes


@pytest.fixture
def gpt_oss(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "hf", GPT_OSS_CONFIG, gpt_oss_shapes())


def assert_same_tensors(one: Path, two: Path) -> None:
    first, second = open_container(one), open_container(two)
    assert first.tensors.keys() == second.tensors.keys()
    for name, entry in first.tensors.items():
        other = second.tensors[name]
        assert (entry.format, entry.shape) == (other.format, other.shape), name
        assert np.array_equal(first.read(name), second.read(name)), name


def floats(path: Path, name: str) -> np.ndarray:
    container = open_container(path)
    return decode(FORMATS[container.tensors[name].format], container.read(name))


def openai_values(path: Path, name: str) -> np.ndarray:
    """OpenAI's MXFP4 by its definition: element 2j low nibble, 2j + 1 high, times 2^(s - 127)."""
    code = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    container = open_container(path)
    scales = container.read(name + "_scales").astype(int)
    blocks = container.read(name + "_blocks").reshape(*scales.shape, 16)
    pairs = np.stack([code[blocks & 15], code[blocks >> 4]], axis=-1).reshape(*scales.shape, 32)
    return (pairs * 2.0 ** (scales[..., None] - 127)).reshape(*scales.shape[:-1], -1)


@pytest.mark.parametrize("order", [("gguf", "openai"), ("openai", "gguf")])
def test_around_the_circle(gpt_oss: Path, tmp_path: Path, order: tuple[str, str]) -> None:
    stops = [gpt_oss]
    for layout in (*order, "hf"):
        target = tmp_path / f"{len(stops)}{'.gguf' if layout == 'gguf' else ''}"
        convert(stops[-1], target, layout)
        stops.append(target)
    assert_same_tensors(gpt_oss, stops[-1])
    config = json.loads((stops[-1] / "config.json").read_text())
    assert {key: config[key] for key in GPT_OSS_CONFIG} == GPT_OSS_CONFIG
    for before, after in pairwise(stops):
        assert open_container(before).tensors.keys() != open_container(after).tensors.keys()


def test_gpt_oss_values_by_the_package_s_decoder(gpt_oss: Path, tmp_path: Path) -> None:
    path = convert(gpt_oss, tmp_path / "model.gguf")
    reader = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    decoded = {
        name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for name, tensor in reader.items()
        if tensor.tensor_type in (gguf.GGMLQuantizationType.MXFP4, gguf.GGMLQuantizationType.F32)
    }
    layer = "model.layers.1.mlp.experts."
    gate_up = openai_values(gpt_oss, layer + "gate_up_proj")
    assert np.array_equal(decoded["blk.1.ffn_gate_exps.weight"], gate_up[:, 0::2])
    assert np.array_equal(decoded["blk.1.ffn_up_exps.weight"], gate_up[:, 1::2])
    down = openai_values(gpt_oss, layer + "down_proj")
    assert np.array_equal(decoded["blk.1.ffn_down_exps.weight"], down)
    bias = floats(gpt_oss, layer + "gate_up_proj_bias")
    assert np.array_equal(decoded["blk.1.ffn_gate_exps.bias"], bias[:, 0::2])
    assert np.array_equal(decoded["blk.1.ffn_up_exps.bias"], bias[:, 1::2])
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT_OSS, LAYERS)
    for name in gpt_oss_shapes():
        if "experts" not in name and not name.endswith("sinks"):
            assert known.get_name(name, (".weight", ".bias")) in reader, name


def test_ollama_s_first_dialect(gpt_oss: Path, tmp_path: Path) -> None:
    # Type id 4, nibbles in OpenAI's order, gate and up fused and interleaved, qkv fused.
    llama_cpp = GgufFile.open(convert(gpt_oss, tmp_path / "llama.gguf"))
    source = open_container(gpt_oss)
    data: dict[str, np.ndarray] = {}
    for n in range(LAYERS):
        for part, name in (("gate_up", "gate_up"), ("down", "down")):
            experts = f"model.layers.{n}.mlp.experts.{part}_proj"
            blocks, scales = source.read(experts + "_blocks"), source.read(experts + "_scales")
            whole = np.concatenate([scales[..., None], blocks], axis=-1)
            data[f"blk.{n}.ffn_{name}_exps.weight"] = whole.reshape(*scales.shape[:-1], -1)
        bias = floats(gpt_oss, f"model.layers.{n}.mlp.experts.gate_up_proj_bias")
        data[f"blk.{n}.ffn_gate_up_exps.bias"] = bias
        for kind in ("weight", "bias"):
            parts = [llama_cpp.read(f"blk.{n}.attn_{part}.{kind}") for part in "qkv"]
            data[f"blk.{n}.attn_qkv.{kind}"] = np.concatenate(parts)
    dropped = ("gate_exps", "up_exps", "attn_q.", "attn_k.", "attn_v.", "down_exps.weight")
    renamed = {"attn_output": "attn_out", "attn_sinks.weight": "attn_sinks"}
    for name in llama_cpp.tensors:
        if not any(part in name for part in dropped):
            new = name.replace("post_attention_norm", "ffn_norm")
            for old, ollama in renamed.items():
                new = new.replace(old, ollama)
            data[new] = llama_cpp.read(name)
    path = tmp_path / "ollama.gguf"
    write_ollama(path, llama_cpp, data)
    assert any(t.format == "MXFP4_OLLAMA" for t in GgufFile.open(path).tensors.values())
    convert(path, tmp_path / "back", "hf")
    assert_same_tensors(gpt_oss, tmp_path / "back")


def write_ollama(path: Path, like: GgufFile, data: dict[str, np.ndarray]) -> None:
    """A file of arch gptoss; MXFP4 entries are given type id 4 after writing."""
    specs, marks = [], []
    for name, rows in data.items():
        if rows.dtype == np.float32:
            specs.append(TensorSpec(name, "F32", rows.shape))
        elif "exps.weight" in name:
            specs.append(TensorSpec(name, "MXFP4", (*rows.shape[:-1], rows.shape[-1] // 17 * 32)))
            marks.append(name)
        else:
            known = name.replace("attn_out.", "attn_output.")
            known = known.replace("attn_qkv", "attn_q").replace("ffn_norm", "post_attention_norm")
            known = known.replace("attn_sinks", "attn_sinks.weight")
            kind = like.tensors[known].format
            item = 4 if kind == "F32" else 2
            one = known.endswith(".bias") or "norm" in known or "sinks" in known
            one = one and "down_exps" not in known
            shape = (rows.size // item,) if one else (*rows.shape[:-1], rows.shape[-1] // item)
            specs.append(TensorSpec(name, kind, shape))
    metadata = {
        key.replace("gpt-oss.", "gptoss."): value for key, value in typed_metadata(like).items()
    }
    metadata["general.architecture"] = "gptoss"
    write_gguf(path, metadata, specs, lambda name: data[name])
    content = bytearray(path.read_bytes())
    for name in marks:
        at = content.index(len(name).to_bytes(8, "little") + name.encode()) + 8 + len(name)
        dims = content[at]
        content[at + 4 + 8 * dims] = 4
    path.write_bytes(content)


def test_tokenizer_survives(gpt_oss: Path, tmp_path: Path) -> None:
    path = convert(gpt_oss, tmp_path / "model.gguf")
    metadata = GgufFile.open(path).metadata
    assert metadata["tokenizer.ggml.tokens"].strings() == [
        *["a", "b", "Ġ", "c", "ab", "Ġc", "abĠc"],
        *["<|end|>", "<tool>", "[PAD9]", "[PAD10]", "[PAD11]"],
    ]
    assert metadata["tokenizer.ggml.token_type"].tolist() == [1] * 7 + [3, 4] + [5] * 3
    assert metadata["tokenizer.ggml.eos_token_id"] == 7
    assert metadata["tokenizer.chat_template"] == "{{ messages }}"
    convert(path, tmp_path / "back", "hf")
    before = Tokenizer.from_file(str(gpt_oss / "tokenizer.json"))
    after = Tokenizer.from_file(str(tmp_path / "back" / "tokenizer.json"))
    ours = from_gguf_metadata(metadata)
    for text in ("ab c", "abab cc<|end|> a", "<tool>ab"):
        ids = before.encode(text).ids
        assert after.encode(text).ids == ids
        assert ours.encode_with_specials(text) == ids


def test_public_vocabulary_has_the_published_merges() -> None:
    keys = keys_of_o200k_harmony()
    assert len(keys["tokenizer.ggml.tokens"]) == len(keys["tokenizer.ggml.token_type"]) == 201088
    assert len(keys["tokenizer.ggml.merges"]) == 446189
    assert keys["tokenizer.ggml.eos_token_id"] == 200002


LLAMA_CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": LAYERS,
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 128,
    "vocab_size": VOCAB,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}


def llama_shapes(head_dim: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        shapes |= {
            layer + "input_layernorm.weight": (HIDDEN,),
            layer + "post_attention_layernorm.weight": (HIDDEN,),
            layer + "self_attn.q_proj.weight": (HEADS * head_dim, HIDDEN),
            layer + "self_attn.k_proj.weight": (KV_HEADS * head_dim, HIDDEN),
            layer + "self_attn.v_proj.weight": (KV_HEADS * head_dim, HIDDEN),
            layer + "self_attn.o_proj.weight": (HIDDEN, HEADS * head_dim),
            layer + "mlp.gate_proj.weight": (INNER, HIDDEN),
            layer + "mlp.up_proj.weight": (INNER, HIDDEN),
            layer + "mlp.down_proj.weight": (HIDDEN, INNER),
        }
    return shapes


def qwen3_shapes(experts: bool) -> dict[str, tuple[int, ...]]:
    shapes = llama_shapes(HEAD_DIM) | {"lm_head.weight": (VOCAB, HIDDEN)}
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        shapes |= {f"{layer}self_attn.{part}_norm.weight": (HEAD_DIM,) for part in "qk"}
        if experts:
            dense = {part: shapes.pop(f"{layer}mlp.{part}_proj.weight") for part in ("gate", "up")}
            dense["down"] = shapes.pop(f"{layer}mlp.down_proj.weight")
            shapes[layer + "mlp.gate.weight"] = (EXPERTS, HIDDEN)
            for e in range(EXPERTS):
                for part, shape in dense.items():
                    shapes[f"{layer}mlp.experts.{e}.{part}_proj.weight"] = shape
    return shapes


def gpt2_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (VOCAB, HIDDEN),
        "transformer.wpe.weight": (16, HIDDEN),
        "transformer.ln_f.weight": (HIDDEN,),
        "transformer.ln_f.bias": (HIDDEN,),
    }
    for n in range(LAYERS):
        layer = f"transformer.h.{n}."
        shapes |= {
            f"{layer}{ln}.{kind}": (HIDDEN,)
            for ln in ("ln_1", "ln_2")
            for kind in ("weight", "bias")
        }
        matrices = {
            "attn.c_attn": 3 * HIDDEN,
            "attn.c_proj": HIDDEN,
            "mlp.c_fc": 4 * HIDDEN,
            "mlp.c_proj": HIDDEN,
        }
        for name, out in matrices.items():
            inner = 4 * HIDDEN if name == "mlp.c_proj" else HIDDEN
            shapes[f"{layer}{name}.weight"] = (inner, out)
            shapes[f"{layer}{name}.bias"] = (out,)
    return shapes


GPT2_CONFIG = {
    "model_type": "gpt2",
    "n_layer": LAYERS,
    "n_embd": HIDDEN,
    "n_head": HEADS,
    "n_positions": 16,
    "vocab_size": VOCAB,
    "layer_norm_epsilon": 1e-5,
}
QWEN_CONFIG = LLAMA_CONFIG | {"model_type": "qwen3", "head_dim": HEAD_DIM, "rms_norm_eps": 1e-6}
MOE_CONFIG = QWEN_CONFIG | {
    "model_type": "qwen3_moe",
    "num_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": INNER,
    "norm_topk_prob": True,
}
DENSE: list[tuple[dict[str, Any], Callable[[], dict[str, tuple[int, ...]]], gguf.MODEL_ARCH]] = [
    (LLAMA_CONFIG, lambda: llama_shapes(HIDDEN // HEADS), gguf.MODEL_ARCH.LLAMA),
    (QWEN_CONFIG, lambda: qwen3_shapes(False), gguf.MODEL_ARCH.QWEN3),
    (MOE_CONFIG, lambda: qwen3_shapes(True), gguf.MODEL_ARCH.QWEN3MOE),
    (GPT2_CONFIG, gpt2_shapes, gguf.MODEL_ARCH.GPT2),
]


@pytest.mark.parametrize(("config", "shapes", "arch"), DENSE, ids=lambda value: "")
def test_huggingface_to_gguf(
    tmp_path: Path,
    config: dict[str, Any],
    shapes: Callable[[], dict[str, tuple[int, ...]]],
    arch: gguf.MODEL_ARCH,
) -> None:
    """Every tensor has the name the package maps to, and its values, rearranged as documented."""
    folder = write_folder(tmp_path / "hf", config, shapes())
    path = convert(folder, tmp_path / "model.gguf")
    file = GgufFile.open(path)
    assert file.metadata["general.architecture"] == gguf.MODEL_ARCH_NAMES[arch]
    known = gguf.get_tensor_name_map(arch, LAYERS)
    seen = set()
    for name in shapes():
        plain = name
        expected = floats(folder, name)
        expert = name.split(".experts.")[1].split(".")[0] if ".experts." in name else ""
        if expert:
            plain = name.replace(f".experts.{expert}.", ".experts.")
        target = known.get_name(plain, (".weight", ".bias"))
        assert target is not None, name
        seen.add(target)
        found = floats(path, target)
        if expert:
            found = found[int(expert)]
        if arch == gguf.MODEL_ARCH.GPT2 and ".c_" in name and name.endswith("weight"):
            expected = expected.T
        if arch == gguf.MODEL_ARCH.LLAMA and name.endswith(("q_proj.weight", "k_proj.weight")):
            half = HIDDEN // HEADS // 2
            heads = found.reshape(-1, half, 2, HIDDEN)
            assert np.array_equal(heads[:, 3, 1], expected.reshape(-1, 2, half, HIDDEN)[:, 1, 3])
            found = np.concatenate([heads[:, :, 0], heads[:, :, 1]], axis=1).reshape(-1, HIDDEN)
        assert np.array_equal(found, expected), name
        vector = len(file.tensors[target].shape) == 1
        small = vector or "ffn_gate_inp" in target or target == "position_embd.weight"
        assert file.tensors[target].format == ("F32" if small else "BF16"), target
    assert seen == set(file.tensors)


def test_keys_are_the_package_s(tmp_path: Path) -> None:
    constants = gguf.constants.Keys
    known = {
        value.replace("{arch}", "qwen3moe")
        for group in (
            constants.General,
            constants.LLM,
            constants.Attention,
            constants.Rope,
            constants.Tokenizer,
        )
        for value in vars(group).values()
        if isinstance(value, str)
    }
    folder = write_folder(tmp_path / "hf", MOE_CONFIG, qwen3_shapes(True))
    metadata = GgufFile.open(convert(folder, tmp_path / "model.gguf")).metadata
    assert metadata.keys() <= known
    assert metadata["qwen3moe.expert_count"] == EXPERTS
    assert metadata["qwen3moe.attention.key_length"] == HEAD_DIM


def test_what_would_lose_something_is_refused(gpt_oss: Path, tmp_path: Path) -> None:
    with pytest.raises(IngleError, match="target layout must be another one"):
        convert(gpt_oss, tmp_path / "out", "hf")
    llama = write_folder(tmp_path / "llama", LLAMA_CONFIG, llama_shapes(HIDDEN // HEADS))
    with pytest.raises(IngleError, match=r"but got 'llama' from hf to openai"):
        convert(llama, tmp_path / "out", "openai")
    scaled = LLAMA_CONFIG | {"rope_scaling": {"rope_type": "llama3"}}
    (llama / "config.json").write_text(json.dumps(scaled))
    with pytest.raises(IngleError, match="rope must be unscaled, but got 'llama3'"):
        convert(llama, tmp_path / "out.gguf")
    shapes = gpt_oss_shapes() | {"model.layers.0.lora": (4, 4)}
    adapted = write_folder(tmp_path / "adapted", GPT_OSS_CONFIG, shapes)
    with pytest.raises(IngleError, match=r"every tensor must be known, but got 'model.layers.0.lo"):
        convert(adapted, tmp_path / "out.gguf")
    assert not list(tmp_path.glob("out*"))


def test_nothing_is_overwritten(gpt_oss: Path, tmp_path: Path) -> None:
    path = convert(gpt_oss, tmp_path / "model.gguf")
    before = path.read_bytes(), (gpt_oss / "config.json").read_bytes()
    for source, target, layout in (
        (gpt_oss, path, "gguf"),
        (gpt_oss, gpt_oss, "openai"),
        (path, tmp_path, "hf"),
        (path, gpt_oss, "openai"),
    ):
        with pytest.raises(IngleError, match="target must not exist yet"):
            convert(source, target, layout)
    with pytest.raises(IngleError, match="folder that can be made"):
        convert(gpt_oss, path / "below", "openai")
    assert before == (path.read_bytes(), (gpt_oss / "config.json").read_bytes())


def test_a_stopped_conversion_resumes(gpt_oss: Path, tmp_path: Path) -> None:
    def stop(done_bytes: int, total_bytes: int) -> None:
        if done_bytes > total_bytes // 2:
            raise KeyboardInterrupt

    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        convert(gpt_oss, tmp_path / "model.gguf", progress=stop)
    path = convert(gpt_oss, tmp_path / "model.gguf", progress=lambda at, _: seen.append(at))
    assert seen[0] > seen[-1] // 2
    convert(path, tmp_path / "back", "hf")
    assert_same_tensors(gpt_oss, tmp_path / "back")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"num_hidden_layers": 3}, "must exist, but got a model without it"),
        ("config.json", {"num_hidden_layers": 10**12}, "num_hidden_layers] value must be a whole"),
        ("config.json", {"vocab_size": 1 << 23}, "tensor must be of shape"),
        ("config.json", {"model_type": "\x1b[31m"}, r"but got '.x1b\[31m' from hf"),
        ("config.json", {"rope_theta": 1e300}, "rope.freq_base'] value must fit value type 6"),
        ("tokenizer.json", {"added_tokens": [{"content": "a"}]}, "vocab must be an object"),
        ("tokenizer.json", {"added_tokens": [{"id": [], "content": "a"}]}, "vocab must be"),
        ("tokenizer.json", {"merges": 1, "model": {"type": "BPE", "vocab": {}}}, "merges must be"),
        ("tokenizer.json", {"pre_tokenizer": {"type": []}}, "pre-tokenizer must be one of"),
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": {"\ud800": 1}}}, "valid JSON"),
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": {"a": 99}}}, "below vocab_size 12"),
    ],
)
def test_hostile_folders(
    gpt_oss: Path, tmp_path: Path, file: str, change: dict[str, Any], message: str
) -> None:
    # The last ones were found by tests/hostile/fuzz_containers.py.
    path = gpt_oss / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(IngleError, match=message) as raised:
        convert(gpt_oss, tmp_path / "out.gguf")
    assert str(raised.value).replace("\nhint: ", "").isprintable()


def test_merges_that_do_not_fit_their_tokens(gpt_oss: Path, tmp_path: Path) -> None:
    source = GgufFile.open(convert(gpt_oss, tmp_path / "model.gguf"))
    metadata = typed_metadata(source) | {"tokenizer.ggml.merges": ["a z"]}
    specs = [TensorSpec(t.name, t.format, t.shape) for t in source.tensors.values()]
    write_gguf(tmp_path / "bad.gguf", metadata, specs, source.read)
    with pytest.raises(IngleError, match="merges must fit"):
        convert(tmp_path / "bad.gguf", tmp_path / "out")
