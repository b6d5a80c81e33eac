"""Owns the tensors of a synthetic gpt-oss in its three layouts: GGUF, Hugging Face, OpenAI.

One set of draws serves all three, so that their experts are equal bit for bit and converting one
gives another. Spreads keep activations of the order of 1 at every depth.
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
from ingle.formats.synth.tensor import Part, SynthTensor

_GAIN_STD = 0.1  # of norms' weights around 1
_BIAS_STD = 0.1
_HEAD_GAIN = 2.0  # standard deviation of logits


class GptOss:
    """Draws of the weights and their names in each layout."""

    def __init__(self, config: dict[str, Any], router_skew: float) -> None:
        self.layers = integer(config, "num_hidden_layers")
        self.vocab = integer(config, "vocab_size")
        self.hidden = integer(config, "hidden_size")
        self.inner = integer(config, "intermediate_size")
        self.head_dim = integer(config, "head_dim")
        self.heads = integer(config, "num_attention_heads")
        self.kv_heads = integer(config, "num_key_value_heads")
        self.experts = integer(config, "num_local_experts")
        self.popularity = Popularity(
            self.experts, integer(config, "num_experts_per_tok"), router_skew
        )
        self._residual_gain = 1 / math.sqrt(2 * self.layers)  # 2 additions per layer sum to 1

    def gguf(self, matrix_format: str = "Q8_0") -> Iterator[SynthTensor]:
        """llama.cpp's names: MXFP4 experts, matrices in `matrix_format`, the rest F32."""
        yield _one("token_embd.weight", matrix_format, self._embedding)
        yield _one("output.weight", matrix_format, self._unembedding)
        yield _vector("output_norm.weight", "F32", self._gain("norm"))
        for n in range(self.layers):
            blk, key = f"blk.{n}.", f"{n}."
            yield _vector(blk + "attn_norm.weight", "F32", self._gain(key + "attn_norm"))
            for part in "qkv":
                weight, bias = self._projection(key, part)
                yield _one(f"{blk}attn_{part}.weight", matrix_format, weight)
                yield _vector(f"{blk}attn_{part}.bias", "F32", bias)
            yield _vector(blk + "attn_sinks.weight", "F32", self._sinks(key))
            weight, bias = self._out(key)
            yield _one(blk + "attn_output.weight", matrix_format, weight)
            yield _vector(blk + "attn_output.bias", "F32", bias)
            yield _vector(blk + "post_attention_norm.weight", "F32", self._gain(key + "mlp_norm"))
            yield _one(blk + "ffn_gate_inp.weight", "F32", self._router(key))
            yield _vector(blk + "ffn_gate_inp.bias", "F32", self._router_bias(key))
            yield from self._gguf_experts(blk, key)

    def _gguf_experts(self, blk: str, key: str) -> Iterator[SynthTensor]:
        shape = (self.experts, self.inner, self.hidden)
        for half, name in enumerate(("gate", "up")):
            rows, draw = slice(half, None, 2), self._gate_up(key)
            yield SynthTensor(f"{blk}ffn_{name}_exps.weight", "MXFP4", shape, (draw,), rows)
            bias = self._gate_up_bias(key, rows)
            yield SynthTensor(f"{blk}ffn_{name}_exps.bias", "F32", shape[:2], (bias,))
        shape = (self.experts, self.hidden, self.inner)
        yield SynthTensor(f"{blk}ffn_down_exps.weight", "MXFP4", shape, (self._down(key),))
        yield SynthTensor(f"{blk}ffn_down_exps.bias", "F32", shape[:2], (self._down_bias(key),))

    def huggingface(self) -> Iterator[SynthTensor]:
        """transformers' names: BF16, experts as U8 codes and exponents."""
        yield _one("model.embed_tokens.weight", "BF16", self._embedding)
        for n in range(self.layers):
            root, key = f"model.layers.{n}.", f"{n}."
            attn, mlp = root + "self_attn.", root + "mlp."
            yield _vector(root + "input_layernorm.weight", "BF16", self._gain(key + "attn_norm"))
            for part in "qkv":
                weight, bias = self._projection(key, part)
                yield _one(f"{attn}{part}_proj.weight", "BF16", weight)
                yield _vector(f"{attn}{part}_proj.bias", "BF16", bias)
            weight, bias = self._out(key)
            yield _one(attn + "o_proj.weight", "BF16", weight)
            yield _vector(attn + "o_proj.bias", "BF16", bias)
            yield _vector(attn + "sinks", "BF16", self._sinks(key))
            gain = self._gain(key + "mlp_norm")
            yield _vector(root + "post_attention_layernorm.weight", "BF16", gain)
            yield _one(mlp + "router.weight", "BF16", self._router(key))
            yield _vector(mlp + "router.bias", "BF16", self._router_bias(key))
            names = ("_blocks", "_scales", "_bias")
            gate_up = [f"{mlp}experts.gate_up_proj{name}" for name in names]
            down = [f"{mlp}experts.down_proj{name}" for name in names]
            yield from self._openai_experts(key, gate_up, down)
        yield _vector("model.norm.weight", "BF16", self._gain("norm"))
        yield _one("lm_head.weight", "BF16", self._unembedding)

    def openai(self) -> Iterator[SynthTensor]:
        """Names of the `original/` folder: q, k and v in one matrix."""
        yield _one("embedding.weight", "BF16", self._embedding)
        for n in range(self.layers):
            block, key = f"block.{n}.", f"{n}."
            attn, mlp = block + "attn.", block + "mlp."
            weights, biases = zip(*(self._projection(key, part) for part in "qkv"), strict=True)
            rows = sum(weight.rows for weight in weights)
            yield _vector(attn + "norm.scale", "BF16", self._gain(key + "attn_norm"))
            yield SynthTensor(attn + "qkv.weight", "BF16", (rows, self.hidden), weights)
            yield SynthTensor(attn + "qkv.bias", "BF16", (rows,), biases)
            yield _vector(attn + "sinks", "BF16", self._sinks(key))
            weight, bias = self._out(key)
            yield _one(attn + "out.weight", "BF16", weight)
            yield _vector(attn + "out.bias", "BF16", bias)
            yield _vector(mlp + "norm.scale", "BF16", self._gain(key + "mlp_norm"))
            yield _one(mlp + "gate.weight", "BF16", self._router(key))
            yield _vector(mlp + "gate.bias", "BF16", self._router_bias(key))
            names = ("_weight.blocks", "_weight.scales", "_bias")
            first, second = ([f"{mlp}mlp{i}{name}" for name in names] for i in (1, 2))
            yield from self._openai_experts(key, first, second)
        yield _vector("norm.scale", "BF16", self._gain("norm"))
        yield _one("unembedding.weight", "BF16", self._unembedding)

    def _openai_experts(
        self, key: str, gate_up: list[str], down: list[str]
    ) -> Iterator[SynthTensor]:
        every = slice(None)
        for draw, bias, names in (
            (self._gate_up(key), self._gate_up_bias(key, every), gate_up),
            (self._down(key), self._down_bias(key), down),
        ):
            shape = (self.experts, draw.rows // self.experts, draw.columns // 32)
            yield SynthTensor(names[0], "U8", (*shape, 16), (draw,), every, Part.CODES)
            yield SynthTensor(names[1], "U8", shape, (draw,), every, Part.EXPONENTS)
            yield SynthTensor(names[2], "BF16", shape[:2], (bias,))

    @property
    def _embedding(self) -> Normal:
        return Normal("embedding", self.vocab, self.hidden, 1.0)

    @property
    def _unembedding(self) -> Normal:
        return Normal("unembedding", self.vocab, self.hidden, _HEAD_GAIN / math.sqrt(self.hidden))

    def _gain(self, key: str) -> Normal:
        return Normal(key, 1, self.hidden, _GAIN_STD, 1.0)

    def _projection(self, key: str, part: str) -> tuple[Normal, Normal]:
        rows = (self.heads if part == "q" else self.kv_heads) * self.head_dim
        weight = Normal(key + part, rows, self.hidden, 1 / math.sqrt(self.hidden))
        return weight, Normal(f"{key}{part}.bias", 1, rows, _BIAS_STD)

    def _sinks(self, key: str) -> Normal:
        return Normal(key + "sinks", 1, self.heads, 1.0)

    def _out(self, key: str) -> tuple[Normal, Normal]:
        columns = self.heads * self.head_dim
        weight = Normal(key + "out", self.hidden, columns, self._residual_gain / math.sqrt(columns))
        return weight, Normal(key + "out.bias", 1, self.hidden, _BIAS_STD * self._residual_gain)

    def _router(self, key: str) -> Normal:
        std = self.popularity.logit_std / math.sqrt(self.hidden)
        return Normal(key + "router", self.experts, self.hidden, std)

    def _router_bias(self, key: str) -> Made:
        return Made(key + "router.bias", 1, self.experts, self.popularity.biases)

    def _gate_up(self, key: str) -> Normal:
        """Rows of gate (even) and up (odd) interleaved, expert after expert."""
        rows, std = self.experts * 2 * self.inner, 1 / math.sqrt(self.hidden)
        return Normal(key + "gate_up", rows, self.hidden, std)

    def _gate_up_bias(self, key: str, columns: slice) -> Made:
        width = 2 * self.inner

        def make(rng: np.random.Generator) -> NDArray[np.float64]:
            return rng.normal(0, _BIAS_STD, (self.experts, width))[:, columns]

        return Made(key + "gate_up.bias", self.experts, len(range(width)[columns]), make)

    def _down(self, key: str) -> Normal:
        std = self._residual_gain / math.sqrt(self.inner)
        return Normal(key + "down", self.experts * self.hidden, self.inner, std)

    def _down_bias(self, key: str) -> Normal:
        return Normal(key + "down.bias", self.experts, self.hidden, _BIAS_STD * self._residual_gain)


def _one(name: str, fmt: str, draw: Normal) -> SynthTensor:
    return SynthTensor(name, fmt, (draw.rows, draw.columns), (draw,))


def _vector(name: str, fmt: str, draw: Draw) -> SynthTensor:
    return SynthTensor(name, fmt, (draw.columns,), (draw,))
