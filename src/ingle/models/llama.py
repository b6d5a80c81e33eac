"""Llama (Touvron et al. 2023), as SmolLM2 is: RMSNorm, rotary GQA attention, SwiGLU, no biases.

GGUF keeps rows of q and k permuted for interleaved rotary pairs, Hugging Face as halves; nothing is
moved, the rotation is done in the file's pairing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ingle.models.checkpoint import Checkpoint, Section
from ingle.models.decoder import MAX_INTERMEDIATE, Decoder, DecoderConfig, Options
from ingle.models.names import NAMES, Layout, Names
from ingle.models.rope import rope_table
from ingle.ops import Linear, Norm, Ops, Rotation, X


@dataclass(frozen=True)
class LlamaConfig(DecoderConfig):
    """Hugging Face's names."""

    intermediate_size: int
    rms_norm_eps: float

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> LlamaConfig:
        """FileFormatError names the value that is wrong, UnsupportedError what is not built."""
        c = checkpoint.config
        c.require("hidden_act", "silu")
        c.require("attention_bias", False)
        c.require("mlp_bias", False)
        c.require("num_local_experts", 0)
        return cls(
            **vars(DecoderConfig.read_sizes(checkpoint)),
            intermediate_size=c.integer("intermediate_size", high=MAX_INTERMEDIATE),
            rms_norm_eps=c.real("rms_norm_eps", low=0.0, high=1.0),
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

    @classmethod
    def read(cls, block: Section, c: LlamaConfig) -> LlamaLayer:
        """From the tensors of a block."""
        q_proj, k_proj, v_proj = block.qkv(c.qkv_rows, c.hidden_size)
        return cls(
            block.norm("input_layernorm", c.hidden_size, c.rms_norm_eps),
            q_proj,
            k_proj,
            v_proj,
            block.linear("o_proj", c.hidden_size, c.q_width),
            block.norm("post_attention_layernorm", c.hidden_size, c.rms_norm_eps),
            block.linear("gate_proj", c.intermediate_size, c.hidden_size),
            block.linear("up_proj", c.intermediate_size, c.hidden_size),
            block.linear("down_proj", c.hidden_size, c.intermediate_size),
        )


class Llama(Decoder):
    """The model: embed, layer by layer, head."""

    names: ClassVar[dict[Layout, Names]] = {
        Layout.HUGGING_FACE: NAMES[Layout.HUGGING_FACE],
        Layout.GGUF: {**NAMES[Layout.GGUF], "rope_divisors": "rope_freqs"},
    }
    config: LlamaConfig

    def __init__(self, checkpoint: Checkpoint, options: Options) -> None:
        self.config = c = LlamaConfig.read(checkpoint)
        top = checkpoint.top
        self.embed_tokens = top.matrix("embed_tokens", c.vocab_size, c.hidden_size)
        self.layers = [
            LlamaLayer.read(checkpoint.block(index), c) for index in range(c.num_hidden_layers)
        ]
        self.norm = top.norm("norm", c.hidden_size, c.rms_norm_eps)
        self.lm_head = top.head(self.embed_tokens, c.vocab_size, c.hidden_size)
        divisors = None
        if top.has("rope_divisors"):
            divisors = top.values("rope_divisors", (c.head_dim // 2,))[1]
        self.rotation = Rotation(
            rope_table(
                checkpoint.config,
                c.head_dim,
                options.context_tokens,
                truncate_yarn=options.truncate_yarn,
                interleaved=checkpoint.layout == Layout.GGUF,
                divisors=divisors,
            )
        )
        checkpoint.finish("rotary_emb.inv_freq")

    def embed(self, ops: Ops[X]) -> X:
        """(T, hidden_size)."""
        return ops.embed(self.embed_tokens)

    def layer(self, ops: Ops[X], index: int, x: X) -> X:
        """x + attention, then + SwiGLU: (T, hidden_size)."""
        w = self.layers[index]
        q, k, v = ops.qkv(x, w.input_layernorm, w.q_proj, w.k_proj, w.v_proj)
        attended = ops.attention(q, k, v, self.config.shape(index), self.rotation)
        x = ops.attention_out(x, attended, w.o_proj)
        return ops.mlp(x, w.post_attention_layernorm, w.gate_proj, w.up_proj, w.down_proj)

    def head(self, ops: Ops[X], x: X) -> X:
        """(R, vocab_size)."""
        return ops.logits(x, self.norm, self.lm_head)
