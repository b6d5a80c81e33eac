"""Qwen3, dense (Yang et al. 2025): Llama with an RMSNorm on every head of q and k before rotation.

head_dim is a setting of its own: q is wider or narrower than the residual stream. GGUF permutes
nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ingle.models.checkpoint import Checkpoint, Section
from ingle.models.config import Config
from ingle.models.decoder import MAX_INTERMEDIATE, Decoder, DecoderConfig, Options
from ingle.models.names import NAMES, Layout, Names
from ingle.models.rope import rope_table
from ingle.ops import AttentionShape, Linear, Norm, Ops, RopeTable, Rotation, X

QWEN3_NAMES: Mapping[Layout, Names] = {
    Layout.HUGGING_FACE: {
        **NAMES[Layout.HUGGING_FACE],
        "q_norm": "self_attn.q_norm",
        "k_norm": "self_attn.k_norm",
    },
    Layout.GGUF: {**NAMES[Layout.GGUF], "q_norm": "attn_q_norm", "k_norm": "attn_k_norm"},
}


@dataclass(frozen=True)
class Qwen3Config(DecoderConfig):
    """Hugging Face's names."""

    intermediate_size: int
    rms_norm_eps: float

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Qwen3Config:
        """FileFormatError names the value that is wrong, UnsupportedError what is not built."""
        c = checkpoint.config
        refuse_what_is_not_built(c)
        return cls(
            **vars(DecoderConfig.read_sizes(checkpoint)),
            intermediate_size=c.integer("intermediate_size", high=MAX_INTERMEDIATE),
            rms_norm_eps=c.real("rms_norm_eps", 1e-6, low=0.0, high=1.0),
        )


def refuse_what_is_not_built(c: Config) -> None:
    """UnsupportedError for settings that no published Qwen3 has."""
    c.require("hidden_act", "silu")
    c.require("attention_bias", False)
    c.require("use_sliding_window", False)


@dataclass(frozen=True)
class Qwen3Attention:
    """The first half of a block."""

    input_layernorm: Norm
    q_proj: Linear  # (num_attention_heads * head_dim, hidden_size)
    k_proj: Linear  # (num_key_value_heads * head_dim, hidden_size)
    v_proj: Linear
    o_proj: Linear  # (hidden_size, num_attention_heads * head_dim)
    rotation: Rotation
    shape: AttentionShape

    @classmethod
    def read(
        cls, block: Section, c: DecoderConfig, eps: float, rope: RopeTable, index: int
    ) -> Qwen3Attention:
        """From the tensors of a block."""
        q_proj, k_proj, v_proj = block.qkv(c.qkv_rows, c.hidden_size)
        q_norm, k_norm = (block.norm(role, c.head_dim, eps) for role in ("q_norm", "k_norm"))
        return cls(
            block.norm("input_layernorm", c.hidden_size, eps),
            q_proj,
            k_proj,
            v_proj,
            block.linear("o_proj", c.hidden_size, c.q_width),
            Rotation(rope, q_norm, k_norm),
            c.shape(index),
        )

    def run(self, ops: Ops[X], x: X) -> X:
        """x + attention: (T, hidden_size)."""
        q, k, v = ops.qkv(x, self.input_layernorm, self.q_proj, self.k_proj, self.v_proj)
        attended = ops.attention(q, k, v, self.shape, self.rotation)
        return ops.attention_out(x, attended, self.o_proj)


@dataclass(frozen=True)
class Qwen3Mlp:
    """SwiGLU."""

    gate_proj: Linear  # (intermediate_size, hidden_size)
    up_proj: Linear
    down_proj: Linear  # (hidden_size, intermediate_size)

    @classmethod
    def read(cls, block: Section, hidden_size: int, intermediate_size: int) -> Qwen3Mlp:
        """From the tensors of a block."""
        return cls(
            block.linear("gate_proj", intermediate_size, hidden_size),
            block.linear("up_proj", intermediate_size, hidden_size),
            block.linear("down_proj", hidden_size, intermediate_size),
        )

    def run(self, ops: Ops[X], x: X, norm: Norm) -> X:
        """x + SwiGLU of the normalized x: (T, hidden_size)."""
        return ops.mlp(x, norm, self.gate_proj, self.up_proj, self.down_proj)


@dataclass(frozen=True)
class Qwen3Layer:
    """Weights of one block."""

    attention: Qwen3Attention
    post_attention_layernorm: Norm
    mlp: Qwen3Mlp


class Qwen3(Decoder):
    """The model: embed, layer by layer, head."""

    names: ClassVar[Mapping[Layout, Names]] = QWEN3_NAMES
    config: Qwen3Config

    def __init__(self, checkpoint: Checkpoint, options: Options) -> None:
        self.config = c = Qwen3Config.read(checkpoint)
        top = checkpoint.top
        rope = rope_table(
            checkpoint.config,
            c.head_dim,
            options.context_tokens,
            truncate_yarn=options.truncate_yarn,
        )
        self.embed_tokens = top.matrix("embed_tokens", c.vocab_size, c.hidden_size)
        self.layers = []
        for index in range(c.num_hidden_layers):
            block = checkpoint.block(index)
            layer = Qwen3Layer(
                Qwen3Attention.read(block, c, c.rms_norm_eps, rope, index),
                block.norm("post_attention_layernorm", c.hidden_size, c.rms_norm_eps),
                Qwen3Mlp.read(block, c.hidden_size, c.intermediate_size),
            )
            self.layers.append(layer)
        self.norm = top.norm("norm", c.hidden_size, c.rms_norm_eps)
        self.lm_head = top.head(self.embed_tokens, c.vocab_size, c.hidden_size)
        checkpoint.finish()

    def embed(self, ops: Ops[X]) -> X:
        """(T, hidden_size)."""
        return ops.embed(self.embed_tokens)

    def layer(self, ops: Ops[X], index: int, x: X) -> X:
        """x + attention, then + SwiGLU: (T, hidden_size)."""
        w = self.layers[index]
        x = w.attention.run(ops, x)
        return w.mlp.run(ops, x, w.post_attention_layernorm)

    def head(self, ops: Ops[X], x: X) -> X:
        """(R, vocab_size)."""
        return ops.logits(x, self.norm, self.lm_head)
