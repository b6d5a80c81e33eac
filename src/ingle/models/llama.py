"""Llama (Touvron et al. 2023) as SmolLM2 uses it: RMSNorm, rotary GQA attention, SwiGLU, no biases.

GGUF keeps q and k rows permuted for interleaved rotary pairs; nothing is undone, the rotation is
done in that pairing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ingle.errors import UnsupportedError
from ingle.models.checkpoint import Checkpoint
from ingle.ops import (
    AttentionShape,
    Linear,
    Norm,
    Ops,
    RopeTable,
    Rotation,
    Weight,
    X,
)


@dataclass(frozen=True)
class LlamaConfig:
    """Hugging Face's names; sizes in elements."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rope_theta: float
    rms_norm_eps: float

    @classmethod
    def from_gguf(cls, checkpoint: Checkpoint) -> LlamaConfig:
        """Read from `llama.*` metadata; FileFormatError names the key that is wrong."""
        c = checkpoint
        hidden = c.integer("llama.embedding_length", high=1 << 17)
        heads = c.integer("llama.attention.head_count", high=1 << 12)
        config = cls(
            vocab_size=c.container.tensors["token_embd.weight"].shape[0]
            if c.has("token_embd.weight")
            else 0,
            hidden_size=hidden,
            intermediate_size=c.integer("llama.feed_forward_length", high=1 << 20),
            num_hidden_layers=c.integer("llama.block_count", high=1 << 10),
            num_attention_heads=heads,
            num_key_value_heads=c.integer("llama.attention.head_count_kv", heads, high=heads),
            head_dim=c.integer("llama.attention.key_length", hidden // heads, low=2, high=1 << 10),
            max_position_embeddings=c.integer("llama.context_length", high=1 << 24),
            rope_theta=c.real("llama.rope.freq_base", 10000.0, low=1.0, high=1e12),
            rms_norm_eps=c.real("llama.attention.layer_norm_rms_epsilon", low=0.0, high=1.0),
        )
        config._refuse_what_is_not_built(c)
        return config

    def _refuse_what_is_not_built(self, c: Checkpoint) -> None:
        scaling = c.metadata.get("llama.rope.scaling.type", "none")
        rotated = c.metadata.get("llama.rope.dimension_count", self.head_dim)
        for key, value, plain in (
            ("llama.expert_count", c.metadata.get("llama.expert_count", 0), 0),
            ("llama.rope.scaling.type", scaling, "none"),
            ("llama.rope.dimension_count", rotated, self.head_dim),
            ("rope_freqs.weight", c.has("rope_freqs.weight"), False),
        ):
            if value != plain:
                raise UnsupportedError(
                    f"{c.container.path.name} {key}", f"must be {plain} for now, but got {value}"
                )


@dataclass(frozen=True)
class LlamaLayer:
    """Weights of one block."""

    input_layernorm: Norm
    q_proj: Linear  # (num_attention_heads * head_dim, hidden_size)
    k_proj: Linear  # (num_key_value_heads * head_dim, hidden_size)
    v_proj: Linear
    o_proj: Linear  # (hidden_size, num_attention_heads * head_dim)
    post_attention_layernorm: Norm
    gate_proj: Linear  # (intermediate_size, hidden_size)
    up_proj: Linear
    down_proj: Linear  # (hidden_size, intermediate_size)
    shape: AttentionShape


class Llama:
    """The model: embed, layer by layer, head."""

    def __init__(self, checkpoint: Checkpoint, context_tokens: int) -> None:
        self.config = config = LlamaConfig.from_gguf(checkpoint)
        self.embed_tokens: Weight = checkpoint.matrix(
            "token_embd.weight", config.vocab_size, config.hidden_size
        )
        self.layers = [_layer(checkpoint, config, i) for i in range(config.num_hidden_layers)]
        self.norm = _norm(checkpoint, "output_norm", config)
        tied = not checkpoint.has("output.weight")
        self.lm_head = (
            Linear(self.embed_tokens)
            if tied
            else checkpoint.linear("output", config.vocab_size, config.hidden_size)
        )
        self._context_tokens = context_tokens

    @property
    def vocab_size(self) -> int:
        """Columns of the logits."""
        return self.config.vocab_size

    @property
    def num_hidden_layers(self) -> int:
        """Number of blocks."""
        return self.config.num_hidden_layers

    @property
    def max_position_embeddings(self) -> int:
        """Tokens of context the model was trained for."""
        return self.config.max_position_embeddings

    @property
    def attention_shapes(self) -> Sequence[AttentionShape]:
        """One per layer; all see everything."""
        return [layer.shape for layer in self.layers]

    @cached_property
    def rotation(self) -> Rotation:
        """theta^(-2i / head_dim), i < head_dim / 2."""
        c = self.config
        exponents = np.arange(0, c.head_dim, 2, dtype=np.float32) / np.float32(c.head_dim)
        frequencies = (1.0 / c.rope_theta ** exponents.astype(np.float64)).astype(np.float32)
        return Rotation(RopeTable(frequencies, self._context_tokens, interleaved=True))

    def embed(self, ops: Ops[X]) -> X:
        """(T, hidden_size)."""
        return ops.embed(self.embed_tokens)

    def layer(self, ops: Ops[X], index: int, x: X) -> X:
        """x + attention, then + SwiGLU: (T, hidden_size)."""
        w = self.layers[index]
        q, k, v = ops.qkv(x, w.input_layernorm, w.q_proj, w.k_proj, w.v_proj)
        attended = ops.attention(q, k, v, w.shape, self.rotation)
        x = ops.attention_out(x, attended, w.o_proj)
        return ops.mlp(x, w.post_attention_layernorm, w.gate_proj, w.up_proj, w.down_proj)

    def head(self, ops: Ops[X], x: X) -> X:
        """(R, vocab_size)."""
        return ops.logits(x, self.norm, self.lm_head)


def _norm(checkpoint: Checkpoint, name: str, config: LlamaConfig) -> Norm:
    return Norm(checkpoint.vector(f"{name}.weight", config.hidden_size), config.rms_norm_eps)


def _layer(checkpoint: Checkpoint, c: LlamaConfig, index: int) -> LlamaLayer:
    blk = f"blk.{index}."
    q_width = c.num_attention_heads * c.head_dim
    kv_width = c.num_key_value_heads * c.head_dim

    def linear(name: str, rows: int, columns: int) -> Linear:
        return checkpoint.linear(blk + name, rows, columns)

    return LlamaLayer(
        input_layernorm=_norm(checkpoint, blk + "attn_norm", c),
        q_proj=linear("attn_q", q_width, c.hidden_size),
        k_proj=linear("attn_k", kv_width, c.hidden_size),
        v_proj=linear("attn_v", kv_width, c.hidden_size),
        o_proj=linear("attn_output", c.hidden_size, q_width),
        post_attention_layernorm=_norm(checkpoint, blk + "ffn_norm", c),
        gate_proj=linear("ffn_gate", c.intermediate_size, c.hidden_size),
        up_proj=linear("ffn_up", c.intermediate_size, c.hidden_size),
        down_proj=linear("ffn_down", c.hidden_size, c.intermediate_size),
        shape=AttentionShape(index, c.num_attention_heads, c.num_key_value_heads, c.head_dim),
    )
