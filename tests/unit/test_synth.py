"""Synthetic checkpoints: sizes of the published files, others' readers, useful randomness."""

from __future__ import annotations

import itertools
import json
import math
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from ingle.errors import IngleError
from ingle.formats import GgufFile, SafetensorsFile
from ingle.formats.convert import convert
from ingle.formats.synth import NAMES, plan, synthesize
from ingle.formats.synth.byte_vocabulary import VOCAB_SIZE, keys
from ingle.formats.synth.draw import Made, Normal
from ingle.formats.synth.job import header
from ingle.formats.synth.popularity import Popularity
from ingle.formats.synth.tensor import SynthTensor
from ingle.numerics import FORMATS, decode
from ingle.tokenizer import from_gguf_metadata

TINY = [name for name in NAMES if name.startswith("tiny-")]
EVERY_ROW = slice(None)

# Keys of the file that ggml-org published.
OFFICIAL = [
    *(f"general.{key}" for key in ("architecture", "type", "name", "basename", "size_label")),
    *(f"general.{key}" for key in ("license", "tags", "quantization_version", "file_type")),
    *(f"gpt-oss.{key}_length" for key in ("context", "embedding", "feed_forward")),
    *(f"gpt-oss.attention.{key}" for key in ("head_count", "head_count_kv", "sliding_window")),
    *(f"gpt-oss.attention.{key}" for key in ("key_length", "value_length")),
    *(f"gpt-oss.expert_{key}" for key in ("count", "used_count", "feed_forward_length")),
    *(f"gpt-oss.rope.scaling.{key}" for key in ("type", "factor", "original_context_length")),
    "gpt-oss.attention.layer_norm_rms_epsilon",
    "gpt-oss.rope.freq_base",
    "gpt-oss.block_count",
    *(f"tokenizer.ggml.{key}" for key in ("model", "pre", "tokens", "token_type", "merges")),
    *(f"tokenizer.ggml.{key}_token_id" for key in ("bos", "eos", "padding")),
    "tokenizer.chat_template",
]

# Of config.json as OpenAI published it for transformers; the other keys are checked by value.
CONFIG = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": 200002,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2880,
    "initial_context_length": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "output_router_logits": False,
    "pad_token_id": 199999,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "router_aux_loss_coef": 0.9,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": 201088,
}


def synth(folder: Path, name: str, layout: str = "gguf", **options: Any) -> Path:
    target = folder / (f"{name}.gguf" if layout == "gguf" else f"{name}-{layout}")
    return synthesize(name, target, layout=layout, **options)


def nbytes(tensor: SynthTensor) -> int:
    if tensor.format == "U8":
        return math.prod(tensor.shape)
    return FORMATS[tensor.format].row_bytes(tensor.shape[-1]) * math.prod(tensor.shape[:-1])


# --- true shapes ---


@pytest.mark.parametrize(
    ("name", "layout", "num_tensors", "payload_bytes"),
    [
        ("gpt-oss:20b", "gguf", 459, 12_096_558_336),
        ("gpt-oss:20b", "hf", 459, 13_761_264_768),
        ("gpt-oss:20b", "original", 363, 13_761_264_768),
        ("gpt-oss:120b", "gguf", 687, 63_374_323_968),
        ("gpt-oss:120b", "hf", 687, 65_248_815_744),
        ("gpt-oss:120b", "original", 543, 65_248_815_744),
    ],
)
def test_payloads_are_those_of_the_published_files(
    name: str, layout: str, num_tensors: int, payload_bytes: int
) -> None:
    tensors = plan(name, layout=layout).tensors
    assert len(tensors) == num_tensors
    assert sum(map(nbytes, tensors)) == payload_bytes


def test_gguf_has_the_types_of_the_published_file() -> None:
    kinds = Counter(tensor.format for tensor in plan("gpt-oss:20b").tensors)
    assert kinds == {"F32": 289, "Q8_0": 98, "MXFP4": 72}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gpt-oss:20b", 20_914_757_184),
        ("gpt-oss:120b", 116_829_156_672),
        ("qwen3:30b-a3b", 30_532_122_624),
        ("qwen3:0.6b", 596_049_920),
        ("smollm2:135m", 134_515_008),
        ("gpt2", 124_439_808),
    ],
)
def test_parameters_are_as_many_as_published(name: str, parameters: int) -> None:
    assert sum(math.prod(tensor.shape) for tensor in plan(name).tensors) == parameters


def test_huggingface_config_is_the_published_one() -> None:
    config = plan("gpt-oss:20b", layout="hf").config
    assert {key: config.get(key) for key in CONFIG} == CONFIG
    assert config["quantization_config"]["quant_method"] == "mxfp4"


def test_fewer_layers_and_experts() -> None:
    model = plan("gpt-oss:120b", layers=3, experts=5)
    assert model.config["layer_types"] == ["sliding_attention", "full_attention"] * 1 + [
        "sliding_attention"
    ]
    assert model.metadata["gpt-oss.block_count"] == 3
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    assert shapes["blk.2.ffn_up_exps.weight"] == (5, 2880, 2880)
    assert not any(name.startswith("blk.3.") for name in shapes)


# --- other people's readers ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synth")


@pytest.mark.parametrize("name", TINY)
def test_gguf_package_reads_and_knows_every_tensor(folder: Path, name: str) -> None:
    path = synth(folder, name, layers=3)
    reader, ours = gguf.GGUFReader(path), GgufFile.open(path)
    architecture = ours.metadata["general.architecture"]
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    blocks = range(ours.metadata[f"{architecture}.block_count"])
    stems = {gguf.TENSOR_NAMES[kind] for kind in gguf.MODEL_TENSORS[arch]}
    known = {stem.format(bid=n) for stem in stems for n in blocks}
    assert len(blocks) == 3
    assert len(reader.tensors) == len(ours.tensors)
    for tensor in reader.tensors:
        assert tensor.name.removesuffix(".weight").removesuffix(".bias") in known
        theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        info = ours.tensors[tensor.name]
        values = decode(FORMATS[info.format], ours.read(tensor.name))
        assert theirs.shape == values.shape == info.shape
        assert np.array_equal(theirs, values)
        assert np.isfinite(values).all()


def test_gpt_oss_gguf_states_what_the_published_file_states() -> None:
    metadata = header(plan("gpt-oss:20b"))
    assert len(OFFICIAL) == 35
    assert set(OFFICIAL) <= set(metadata)
    assert metadata["general.file_type"] == 38
    assert len(metadata["tokenizer.ggml.tokens"]) == 201_088
    assert len(metadata["tokenizer.ggml.merges"]) == 446_189
    tokenizer = from_gguf_metadata(metadata)
    assert tokenizer.encode("hello world") == [24912, 2375]


@pytest.mark.parametrize("name", TINY)
def test_safetensors_package_reads_the_huggingface_folder(folder: Path, name: str) -> None:
    path = synth(folder, name, "hf")
    config = json.loads((path.parent / "config.json").read_text())
    assert config == plan(name, layout="hf").config
    assert (path.parent / "tokenizer.json").is_file()
    with safetensors.safe_open(path, "numpy") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    assert shapes == {tensor.name: tensor.shape for tensor in plan(name, layout="hf").tensors}


# --- one model, whatever the layout ---


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_layouts_of_gpt_oss_convert_into_each_other(tmp_path: Path, layout: str) -> None:
    source = synth(tmp_path, "tiny-gpt-oss", layout, seed=3)
    converted = GgufFile.open(convert(source.parent, tmp_path / "converted.gguf"))
    direct = GgufFile.open(synth(tmp_path, "tiny-gpt-oss", seed=3))
    assert converted.tensors.keys() == direct.tensors.keys()
    for name, info in direct.tensors.items():
        theirs = converted.read(name)
        if info.format == "Q8_0":
            values = decode(FORMATS["BF16"], theirs)
            theirs = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        assert np.array_equal(direct.read(name), theirs), name


@pytest.mark.parametrize("name", ["tiny-qwen3moe", "tiny-qwen3"])
def test_layouts_of_qwen3_hold_the_same_numbers(tmp_path: Path, name: str) -> None:
    hf = SafetensorsFile.open(synth(tmp_path, name, "hf"))
    direct = GgufFile.open(synth(tmp_path, name))
    converted = GgufFile.open(convert(hf.path.parent, tmp_path / "converted.gguf"))
    for tensor, info in direct.tensors.items():
        fmt = FORMATS[converted.tensors[tensor].format]
        values, ours = decode(fmt, converted.read(tensor)), direct.read(tensor)
        rounding = {"F32": 0.0, "Q8_0": 0.01, "MXFP4": 0.3}[info.format]
        difference = decode(FORMATS[info.format], ours) - values
        assert np.abs(difference).max() <= rounding * np.abs(values).max(), tensor


# --- randomness ---


def test_same_arguments_give_the_same_bytes_and_seeds_differ(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        synthesize("tiny-gpt-oss", path, seed=seed, router_skew=1.0)
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again
    assert len(first) == len(other)
    assert first != other
    tensors = [GgufFile.open(paths[0]), GgufFile.open(paths[2])]
    for name in tensors[0].tensors:
        assert not np.array_equal(tensors[0].read(name), tensors[1].read(name)), name


@pytest.mark.parametrize("fmt", ["MXFP4", "Q8_0", "BF16", "F32"])
@pytest.mark.parametrize("std", [0.003, 1.0])
def test_draws_have_the_spread_asked_for_and_no_row_twice(fmt: str, std: float) -> None:
    draw = Normal("a", 6000, 96, std, 2 * std)
    rows = np.concatenate(list(draw.pieces(7, FORMATS[fmt], EVERY_ROW)))
    assert rows.shape == (6000, FORMATS[fmt].row_bytes(96))
    assert len(np.unique(rows, axis=0)) == len(rows)
    values = decode(FORMATS[fmt], rows)
    assert values.mean() == pytest.approx(2 * std, rel=0.05)
    assert values.std() == pytest.approx(std, rel=0.05)
    products = values[:200] - 2 * std
    cosines = products @ products.T / (96 * std**2)
    assert np.abs(cosines - np.diag(np.diag(cosines))).max() < 0.7  # no row is another's shadow


def test_keys_and_formats_and_slices_of_a_draw() -> None:
    draw = Normal("a", 50, 64, 1.0)
    whole = np.concatenate(list(draw.pieces(0, FORMATS["BF16"], EVERY_ROW)))
    odd = np.concatenate(list(draw.pieces(0, FORMATS["BF16"], slice(1, None, 2))))
    f32 = np.concatenate(list(draw.pieces(0, FORMATS["F32"], EVERY_ROW)))
    other = np.concatenate(list(Normal("b", 50, 64, 1.0).pieces(0, FORMATS["BF16"], EVERY_ROW)))
    assert np.array_equal(odd, whole[1::2])
    assert np.array_equal(decode(FORMATS["F32"], f32), decode(FORMATS["BF16"], whole))
    assert not np.array_equal(other, whole)


def test_a_tensor_larger_than_its_share_of_memory_is_streamed() -> None:
    tensor = next(t for t in plan("gpt-oss:20b").tensors if t.name == "blk.0.ffn_up_exps.weight")
    tracemalloc.start()
    written = sum(piece.nbytes for piece in tensor.pieces(0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written == 141_004_800
    assert peak < 128 << 20


def chosen(router: np.ndarray[Any, Any], biases: Any, per_token: int) -> np.ndarray[Any, Any]:
    """Experts (2000, per_token) of random normalized inputs."""
    rng = np.random.default_rng(5)
    logits = rng.standard_normal((2000, router.shape[1])) @ router.T + biases
    return np.argsort(-logits, axis=1)[:, :per_token]


@pytest.mark.parametrize("skew", [0.0, 1.0, 2.0])
def test_router_with_biases_is_skewed_and_still_looks_at_its_input(skew: float) -> None:
    found = {t.name: t for t in plan("gpt-oss:20b", layers=1, router_skew=skew).tensors}
    values = {
        kind: np.concatenate(
            [decode(FORMATS["F32"], p) for p in found[f"blk.0.ffn_gate_inp.{kind}"].pieces(0)]
        )
        for kind in ("weight", "bias")
    }
    ids = chosen(values["weight"], values["bias"], 4)
    shares = np.sort(np.bincount(ids.ravel(), minlength=32))[::-1] / len(ids)
    assert len({tuple(sorted(row)) for row in ids.tolist()}) > 100
    assert shares[0] < 1.0  # not even the favourite is chosen always
    first = 1 / sum(rank**-skew for rank in range(1, 33))
    if skew == 0:
        assert shares[0] < 0.2
        assert shares[-1] > 0.05
    else:
        assert shares[0] > 2 * 4 / 32
        assert np.bincount(ids[:, 0]).max() / len(ids) == pytest.approx(first, rel=0.3)


@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_router_without_biases_is_skewed_by_its_rows(skew: float) -> None:
    found = {t.name: t for t in plan("qwen3:30b-a3b", layers=1, router_skew=skew).tensors}
    router = next(iter(found["blk.0.ffn_gate_inp.weight"].pieces(0)))
    ids = chosen(decode(FORMATS["F32"], router), 0.0, 8)
    shares = np.sort(np.bincount(ids.ravel(), minlength=128))[::-1] / len(ids)
    assert len({tuple(sorted(row)) for row in ids.tolist()}) > 1000
    assert (shares[0] / shares[64] > 5) == (skew > 0)


@given(
    experts=st.integers(1, 300),
    per_token=st.integers(1, 300),
    skew=st.floats(0, 8),
    seed=st.just(1),
)
def test_popularity_is_finite_whatever_the_numbers(
    experts: int, per_token: int, skew: float, seed: int
) -> None:
    popularity = Popularity(experts, min(per_token, experts), skew)
    rng = np.random.default_rng(seed)
    for values in (popularity.biases(rng), popularity.row_scales(rng)):
        assert values.shape == (experts,)
        assert np.isfinite(values).all()
    assert (popularity.row_scales(rng) > 0).all()


def test_made_rows_are_cut_like_drawn_ones() -> None:
    made = Made("a", 4, 3, lambda rng: np.arange(12).reshape(4, 3))
    (piece,) = made.pieces(0, FORMATS["F32"], slice(1, 3))
    assert decode(FORMATS["F32"], piece).tolist() == [[3, 4, 5], [6, 7, 8]]


# --- vocabulary ---


@given(st.text())
def test_bytes_vocabulary_says_every_text(text: str) -> None:
    tokenizer = from_gguf_metadata(keys(VOCAB_SIZE))
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text.encode("utf-8", "replace").decode()
    assert all(i < VOCAB_SIZE for i in ids)


def test_bytes_vocabulary_has_harmony_marks() -> None:
    tokenizer = from_gguf_metadata(keys(50257))
    marks = "<|start|>user<|message|>a  b<|end|>"
    assert len(tokenizer.encode_with_specials(marks)) == 3 + 4 + 4
    assert keys(300)["tokenizer.ggml.tokens"][299] == "[PAD299]"


# --- mistakes ---


@pytest.mark.parametrize(
    ("name", "options", "where"),
    [
        ("gpt-oss:21b", {}, "name"),
        ("", {}, "name"),
        ("gpt2", {"experts": 4}, "--experts"),
        ("gpt2", {"router_skew": 1.0}, "--router-skew"),
        ("gpt2", {"layout": "original"}, "--format"),
        ("tiny-gpt-oss", {"layout": "GGUF"}, "--format"),
        ("tiny-gpt-oss", {"layers": 0}, "--layers"),
        ("tiny-gpt-oss", {"layers": 10**9}, "--layers"),
        ("tiny-gpt-oss", {"experts": 3}, "--experts"),
        ("tiny-gpt-oss", {"experts": 10**9}, "--experts"),
        ("tiny-gpt-oss", {"router_skew": -1.0}, "--router-skew"),
        ("tiny-gpt-oss", {"router_skew": math.nan}, "--router-skew"),
        ("tiny-gpt-oss", {"seed": -1}, "--seed"),
        ("tiny-gpt-oss", {"seed": 1 << 64}, "--seed"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, options: dict[str, Any], where: str) -> None:
    with pytest.raises(IngleError) as caught:
        synthesize(name, tmp_path / "out", **options)
    assert caught.value.where == where
    assert list(tmp_path.iterdir()) == []


def test_targets_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IngleError, match="file, but got a folder"):
        synthesize("tiny-llama", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(IngleError, match="folder, but got a file"):
        synthesize("tiny-llama", tmp_path / "file", layout="hf")


def test_nothing_half_written_is_left_and_an_interrupted_job_resumes(tmp_path: Path) -> None:
    whole = synth(tmp_path, "tiny-gpt-oss").read_bytes()
    target, calls = tmp_path / "again.gguf", itertools.count()

    def interrupt(done_bytes: int, total_bytes: int) -> None:
        if next(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize("tiny-gpt-oss", target, progress=interrupt)
    assert not target.exists()
    told: list[int] = []
    synthesize("tiny-gpt-oss", target, progress=lambda done, total: told.append(done))
    assert len(told) == len(plan("tiny-gpt-oss").tensors) - 6
    assert target.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again.gguf",
        "tiny-gpt-oss.gguf",
    ]


# --- plans ---


def test_a_plan_opens_like_the_file_it_becomes(tmp_path: Path) -> None:
    model = plan("tiny-gpt-oss", layers=2)
    planned, written = model.open(), GgufFile.open(synth(tmp_path, "tiny-gpt-oss", layers=2))
    assert list(planned.tensors) == list(written.tensors)
    for name, info in planned.tensors.items():
        there = written.tensors[name]
        assert (info.format, info.shape, info.row_bytes, info.nbytes) == (
            there.format, there.shape, there.row_bytes, there.nbytes,
        )  # fmt: skip
        assert planned.read(name).shape == written.read(name).shape
    assert {key: written.metadata[key] for key in planned.metadata} == pytest.approx(
        dict(planned.metadata)
    )
    with pytest.raises(IngleError, match="'nothing'"):
        planned.read("nothing")
    with pytest.raises(IngleError, match="GGUF"):
        plan("tiny-gpt-oss", layout="hf").open()


def test_reading_a_plan_takes_no_memory() -> None:
    planned = plan("gpt-oss:120b").open()
    tracemalloc.start()
    sizes = sum(planned.read(name).size for name in planned.tensors)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sizes == 63_374_323_968
    assert peak < 1 << 20
