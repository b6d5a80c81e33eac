"""Owns the tensors of synthetic Llama, Qwen3 (dense and MoE) and GPT-2, in GGUF and Hugging Face.

Both layouts take the same draws, but GGUF's permutation of Llama's q and k and GPT-2's transposed
matrices are not undone: the two files are alike, not equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.formats.convert.config import integer
from ingle.formats.synth.draw import Draw, Made, Normal
from ingle.formats.synth.popularity import Popularity
from ingle.formats.synth.tensor import SynthTensor

_GAIN_STD = 0.1  # of norms' weights around 1
_BIAS_STD = 0.1  # of what a bias is added to
_HEAD_GAIN = 2.0  # standard deviation of logits
_PARTS = ("gate", "up", "down")


class Llama:
    """Draws of Llama, and of Qwen3 where the configuration has its keys."""

    def __init__(self, config: dict[str, Any], router_skew: float) -> None:
        self.layers = integer(config, "num_hidden_layers")
        self.vocab = integer(config, "vocab_size")
        self.hidden = integer(config, "hidden_size")
        self.heads = integer(config, "num_attention_heads")
        self.kv_heads = integer(config, "num_key_value_heads")
        self.head_dim = integer(config, "head_dim", default=self.hidden // self.heads)
        self.experts = integer(config, "num_experts", default=1)
        self.moe = config["model_type"] == "qwen3_moe"
        self.inner = integer(config, "moe_intermediate_size" if self.moe else "intermediate_size")
        self.tied = config["tie_word_embeddings"]
        self.normed_heads = config["model_type"] != "llama"
        per_token = integer(config, "num_experts_per_tok", default=1)
        self.popularity = Popularity(self.experts, per_token, router_skew)
        # A tied matrix is as small as a head's; what layers add is in proportion.
        self._head_std = _HEAD_GAIN / math.sqrt(self.hidden)
        self._embed_std = self._head_std if self.tied else 1.0
        self._residual_std = self._embed_std / math.sqrt(2 * self.layers)

    def gguf(self, matrix_format: str = "Q8_0") -> Iterator[SynthTensor]:
        """llama.cpp's names: experts MXFP4, matrices in `matrix_format`, the rest F32."""
        yield _matrix("token_embd.weight", matrix_format, self._embedding)
        yield _vector("output_norm.weight", "F32", self._gain("norm", self.hidden))
        if not self.tied:
            yield _matrix("output.weight", matrix_format, self._unembedding)
        for n in range(self.layers):
            blk, key = f"blk.{n}.", f"{n}."
            yield _vector(blk + "attn_norm.weight", "F32", self._gain(key + "1", self.hidden))
            for part in "qkv":
                draw = self._projection(key, part)
                yield _matrix(f"{blk}attn_{part}.weight", matrix_format, draw)
            for part in "qk" if self.normed_heads else "":
                gain = self._gain(f"{key}{part}_norm", self.head_dim)
                yield _vector(f"{blk}attn_{part}_norm.weight", "F32", gain)
            yield _matrix(blk + "attn_output.weight", matrix_format, self._out(key))
            yield _vector(blk + "ffn_norm.weight", "F32", self._gain(key + "2", self.hidden))
            if self.moe:
                yield _matrix(blk + "ffn_gate_inp.weight", "F32", self._router(key))
            for part in _PARTS:
                draw = self._mlp(key, part)
                if self.moe:
                    shape = (self.experts, draw.rows // self.experts, draw.columns)
                    yield SynthTensor(f"{blk}ffn_{part}_exps.weight", "MXFP4", shape, (draw,))
                else:
                    yield _matrix(f"{blk}ffn_{part}.weight", matrix_format, draw)

    def huggingface(self) -> Iterator[SynthTensor]:
        """transformers' names, all BF16; a matrix per expert."""
        yield _matrix("model.embed_tokens.weight", "BF16", self._embedding)
        for n in range(self.layers):
            root, key = f"model.layers.{n}.", f"{n}."
            attn, mlp = root + "self_attn.", root + "mlp."
            gains = (("input_layernorm", "1"), ("post_attention_layernorm", "2"))
            for name, which in gains:
                gain = self._gain(key + which, self.hidden)
                yield _vector(f"{root}{name}.weight", "BF16", gain)
            for part in "qkv":
                yield _matrix(f"{attn}{part}_proj.weight", "BF16", self._projection(key, part))
            for part in "qk" if self.normed_heads else "":
                gain = self._gain(f"{key}{part}_norm", self.head_dim)
                yield _vector(f"{attn}{part}_norm.weight", "BF16", gain)
            yield _matrix(attn + "o_proj.weight", "BF16", self._out(key))
            if self.moe:
                yield _matrix(mlp + "gate.weight", "BF16", self._router(key))
            for e in range(self.experts):
                expert = f"{mlp}experts.{e}." if self.moe else mlp
                for part in _PARTS:
                    yield self._expert(f"{expert}{part}_proj.weight", self._mlp(key, part), e)
        yield _vector("model.norm.weight", "BF16", self._gain("norm", self.hidden))
        if not self.tied:
            yield _matrix("lm_head.weight", "BF16", self._unembedding)

    @property
    def _embedding(self) -> Normal:
        return Normal("embedding", self.vocab, self.hidden, self._embed_std)

    @property
    def _unembedding(self) -> Normal:
        return Normal("unembedding", self.vocab, self.hidden, self._head_std)

    def _gain(self, key: str, width: int) -> Normal:
        return Normal(key, 1, width, _GAIN_STD, 1.0)

    def _projection(self, key: str, part: str) -> Normal:
        rows = (self.heads if part == "q" else self.kv_heads) * self.head_dim
        return Normal(key + part, rows, self.hidden, 1 / math.sqrt(self.hidden))

    def _out(self, key: str) -> Normal:
        columns = self.heads * self.head_dim
        return Normal(key + "out", self.hidden, columns, self._residual_std / math.sqrt(columns))

    def _mlp(self, key: str, part: str) -> Normal:
        """The matrices of all experts, one below the other; a dense MLP has one."""
        if part == "down":
            std = self._residual_std / math.sqrt(self.inner)
            return Normal(key + part, self.experts * self.hidden, self.inner, std)
        rows, std = self.experts * self.inner, 1 / math.sqrt(self.hidden)
        return Normal(key + part, rows, self.hidden, std)

    def _expert(self, name: str, stack: Normal, expert: int) -> SynthTensor:
        count = stack.rows // self.experts
        rows = slice(expert * count, (expert + 1) * count)
        return SynthTensor(name, "BF16", (count, stack.columns), (stack,), rows)

    def _router(self, key: str) -> Draw:
        """No biases to skew it by: rows differ in scale."""
        std = self.popularity.logit_std / math.sqrt(self.hidden)

        def make(rng: np.random.Generator) -> NDArray[np.float64]:
            rows = rng.normal(0, std, (self.experts, self.hidden))
            return rows * self.popularity.row_scales(rng)[:, None]

        return Made(key + "router", self.experts, self.hidden, make)


class Gpt2:
    """Draws of GPT-2."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.layers = integer(config, "n_layer")
        self.vocab = integer(config, "vocab_size")
        self.hidden = integer(config, "n_embd")
        self.positions = integer(config, "n_positions")
        self._embed_std = _HEAD_GAIN / math.sqrt(self.hidden)
        self._residual_std = self._embed_std / math.sqrt(2 * self.layers)

    def gguf(self, matrix_format: str = "Q8_0") -> Iterator[SynthTensor]:
        """llama.cpp's names: matrices (out, in) in `matrix_format`, the rest F32."""
        yield _matrix("token_embd.weight", matrix_format, self._table("embedding", self.vocab))
        yield _matrix("position_embd.weight", "F32", self._table("positions", self.positions))
        yield from self._norm("output_norm", "F32", "norm")
        norms = ("attn_norm", "ffn_norm")
        names = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
        for n in range(self.layers):
            for number, name in enumerate(norms):
                yield from self._norm(f"blk.{n}.{name}", "F32", f"{n}.{number}")
            for name, (weight, bias) in zip(names, self._linears(n, False), strict=True):
                yield _matrix(f"blk.{n}.{name}.weight", matrix_format, weight)
                yield _vector(f"blk.{n}.{name}.bias", "F32", bias)

    def huggingface(self) -> Iterator[SynthTensor]:
        """transformers' names, all BF16: Conv1D matrices (in, out)."""
        yield _matrix("transformer.wte.weight", "BF16", self._table("embedding", self.vocab))
        yield _matrix("transformer.wpe.weight", "BF16", self._table("positions", self.positions))
        names = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        for n in range(self.layers):
            root = f"transformer.h.{n}."
            for number, name in enumerate(("ln_1", "ln_2")):
                yield from self._norm(root + name, "BF16", f"{n}.{number}")
            for name, (weight, bias) in zip(names, self._linears(n, True), strict=True):
                yield _matrix(f"{root}{name}.weight", "BF16", weight)
                yield _vector(f"{root}{name}.bias", "BF16", bias)
        yield from self._norm("transformer.ln_f", "BF16", "norm")

    def _table(self, key: str, rows: int) -> Normal:
        return Normal(key, rows, self.hidden, self._embed_std)

    def _norm(self, name: str, fmt: str, key: str) -> Iterator[SynthTensor]:
        yield _vector(f"{name}.weight", fmt, Normal(key, 1, self.hidden, _GAIN_STD, 1.0))
        yield _vector(f"{name}.bias", fmt, Normal(key + ".bias", 1, self.hidden, _BIAS_STD))

    def _linears(self, n: int, in_first: bool) -> Iterator[tuple[Normal, Normal]]:
        """Weight and bias of qkv, attention's output, up, down."""
        hidden = self.hidden
        for name, rows, columns, gain in (
            ("qkv", 3 * hidden, hidden, 1.0),
            ("out", hidden, hidden, self._residual_std),
            ("up", 4 * hidden, hidden, 1.0),
            ("down", hidden, 4 * hidden, self._residual_std),
        ):
            shape = (columns, rows) if in_first else (rows, columns)
            key = f"{n}.{name}"
            yield (
                Normal(key, *shape, gain / math.sqrt(columns)),
                Normal(key + ".bias", 1, rows, _BIAS_STD * gain),
            )


def _matrix(name: str, fmt: str, draw: Draw) -> SynthTensor:
    return SynthTensor(name, fmt, (draw.rows, draw.columns), (draw,))


def _vector(name: str, fmt: str, draw: Draw) -> SynthTensor:
    return SynthTensor(name, fmt, (draw.columns,), (draw,))
