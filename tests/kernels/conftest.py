"""Tiny Llama files with random weights, written by the `gguf` package, not by ingle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from ingle import _native

ISAS = [name for name, available, _ in _native.instruction_sets() if available]


@dataclass(frozen=True)
class TinyLlama:
    """Sizes of a random model; `format` is the number format of its matrices."""

    format: str = "Q4_1"
    hidden: int = 96
    intermediate: int = 160
    layers: int = 2
    heads: int = 3
    kv_heads: int = 1
    head_dim: int = 32
    vocab: int = 263  # not a multiple of 16
    tied: bool = True
    seed: int = 7


# A scale that gives random codes and sub-scales a standard deviation near 1; where minimums are,
# their scale by it, for a mean near 0; bytes of a block, and where its scales are.
_SUPER_BLOCKS = {
    "Q2_K": (1 / 14, 1.5, 84, (80, 82)),
    "Q3_K": (1 / 42, 0.0, 110, (108,)),
    "Q4_K": (1 / 250, 7.5, 144, (0, 2)),
    "Q5_K": (1 / 500, 15.5, 176, (0, 2)),
    "Q6_K": (1 / 1370, 0.0, 210, (208,)),
    "IQ4_XS": (1 / 1200, 0.0, 136, (0,)),
}


def _super_blocks(shape: tuple[int, int], name: str) -> np.ndarray:
    """Any bytes are codes and sub-scales; the package cannot write these formats."""
    scale, minimum, size, places = _SUPER_BLOCKS[name]
    rows, columns = shape
    draw = np.random.default_rng(rows * columns)
    blocks = draw.integers(0, 256, (rows, columns // 256, size), np.uint8)
    for at, factor in zip(places, (1.0, minimum), strict=False):
        scales = draw.uniform(0.7, 1.3, blocks.shape[:2]) * scale * factor / np.sqrt(columns)
        blocks[..., at : at + 2] = scales.astype(np.float16)[..., None].view(np.uint8)
    return blocks.reshape(rows, -1)


def _encoded(values: np.ndarray, name: str) -> tuple[np.ndarray, gguf.GGMLQuantizationType]:
    kind = gguf.GGMLQuantizationType[name]
    if name == "IQ4_NL":  # the package only decodes it: Q4_0 blocks are valid IQ4_NL blocks
        return gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_0), kind
    if name in _SUPER_BLOCKS:
        return _super_blocks(values.shape, name), kind
    if name in ("F32", "F16"):
        return values.astype(np.float32 if name == "F32" else np.float16), kind
    return gguf.quants.quantize(values, kind), kind


def write(path: Path, tiny: TinyLlama) -> Path:
    """A complete `llama` GGUF with a byte-level vocabulary."""
    rng = np.random.default_rng(tiny.seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(tiny.layers)
    writer.add_context_length(8192)
    writer.add_embedding_length(tiny.hidden)
    writer.add_feed_forward_length(tiny.intermediate)
    writer.add_head_count(tiny.heads)
    writer.add_head_count_kv(tiny.kv_heads)
    writer.add_key_length(tiny.head_dim)
    writer.add_value_length(tiny.head_dim)
    writer.add_rope_dimension_count(tiny.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    _add_vocabulary(writer, tiny.vocab)

    def matrix(name: str, rows: int, columns: int, fmt: str = tiny.format) -> None:
        values = rng.standard_normal((rows, columns)).astype(np.float32) / np.sqrt(columns)
        data, kind = _encoded(values, fmt)
        writer.add_tensor(name, data, raw_dtype=kind)

    def gain(name: str) -> None:
        writer.add_tensor(name, rng.normal(1, 0.2, tiny.hidden).astype(np.float32))

    matrix("token_embd.weight", tiny.vocab, tiny.hidden)
    q_width, kv_width = tiny.heads * tiny.head_dim, tiny.kv_heads * tiny.head_dim
    for i in range(tiny.layers):
        gain(f"blk.{i}.attn_norm.weight")
        matrix(f"blk.{i}.attn_q.weight", q_width, tiny.hidden)
        matrix(f"blk.{i}.attn_k.weight", kv_width, tiny.hidden)
        matrix(f"blk.{i}.attn_v.weight", kv_width, tiny.hidden)
        matrix(f"blk.{i}.attn_output.weight", tiny.hidden, q_width)
        gain(f"blk.{i}.ffn_norm.weight")
        matrix(f"blk.{i}.ffn_gate.weight", tiny.intermediate, tiny.hidden)
        matrix(f"blk.{i}.ffn_up.weight", tiny.intermediate, tiny.hidden)
        matrix(f"blk.{i}.ffn_down.weight", tiny.hidden, tiny.intermediate)
    gain("output_norm.weight")
    if not tiny.tied:
        matrix("output.weight", tiny.vocab, tiny.hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    """Byte-level letters (the last makes room for a merge), then padding."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]
    tokens = [*letters[:255], "ab"] + [f"<pad{i}>" for i in range(size - 256)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 256 + [3] * (size - 256))
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(255)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Path of a tiny model with the given sizes; written once each."""
    folder = tmp_path_factory.mktemp("tiny")
    made: dict[TinyLlama, Path] = {}

    def make(**sizes: Any) -> Path:
        tiny = TinyLlama(**sizes)
        if tiny not in made:
            made[tiny] = write(folder / f"{len(made)}.gguf", tiny)
        return made[tiny]

    return make


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every instruction set this CPU can run, forced as a user would."""
    monkeypatch.setenv("INGLE_CPU", request.param)
    return str(request.param)
