"""Qwen3-MoE (Yang et al. 2025): Qwen3 whose MLPs are mixtures of experts, all or some of them.

The router takes a softmax over all experts, keeps the largest, and divides them by their sum when
`norm_topk_prob` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ingle.errors import FileFormatError
from ingle.models.checkpoint import Checkpoint, Section
from ingle.models.config import Config
from ingle.models.decoder import (
    MAX_EXPERTS,
    MAX_INTERMEDIATE,
    MAX_LAYERS,
    Decoder,
    DecoderConfig,
    Options,
    chosen_experts,
)
from ingle.models.experts import from_each, make_experts, stacked
from ingle.models.names import Layout, Names
from ingle.models.qwen3 import QWEN3_NAMES, Qwen3Attention, Qwen3Mlp, refuse_what_is_not_built
from ingle.models.rope import rope_table
from ingle.ops import Activation, Experts, Moe, Norm, Ops, Routing, X


@dataclass(frozen=True)
class Qwen3MoeConfig(DecoderConfig):
    """Hugging Face's names. sparse_layers: those with experts."""

    rms_norm_eps: float
    intermediate_size: int  # of layers without experts
    moe_intermediate_size: int
    num_local_experts: int
    num_experts_per_tok: int
    norm_topk_prob: bool
    sparse_layers: frozenset[int]

    @classmethod
    def read(cls, checkpoint: Checkpoint, options: Options) -> Qwen3MoeConfig:
        """FileFormatError names the value that is wrong, UnsupportedError what is not built."""
        c, sizes = checkpoint.config, DecoderConfig.read_sizes(checkpoint)
        refuse_what_is_not_built(c)
        experts = c.integer("num_local_experts", high=MAX_EXPERTS)
        gguf = checkpoint.layout == Layout.GGUF  # has no key for it: every published model does
        return cls(
            **vars(sizes),
            rms_norm_eps=c.real("rms_norm_eps", 1e-6, low=0.0, high=1.0),
            intermediate_size=c.integer("intermediate_size", 1, high=MAX_INTERMEDIATE),
            moe_intermediate_size=c.integer("moe_intermediate_size", high=MAX_INTERMEDIATE),
            num_local_experts=experts,
            num_experts_per_tok=chosen_experts(c, options, experts),
            norm_topk_prob=c.flag("norm_topk_prob", gguf),
            sparse_layers=_sparse_layers(c, sizes.num_hidden_layers),
        )


def _sparse_layers(c: Config, num_hidden_layers: int) -> frozenset[int]:
    """Every `decoder_sparse_step`-th layer, those of `mlp_only_layers` left out."""
    dense = c.items("mlp_only_layers") or ()
    if not all(type(layer) is int and 0 <= layer < num_hidden_layers for layer in dense):
        raise FileFormatError(
            f"{c.where} mlp_only_layers",
            f"values must be layers from 0 to {num_hidden_layers - 1}, but got {dense!a:.80}",
        )
    step = c.integer("decoder_sparse_step", 1, high=MAX_LAYERS)
    every = (layer for layer in range(num_hidden_layers) if (layer + 1) % step == 0)
    return frozenset(every) - frozenset(dense)


@dataclass(frozen=True)
class Qwen3MoeLayer:
    """Weights of one block."""

    attention: Qwen3Attention
    post_attention_layernorm: Norm
    mlp: Moe | Qwen3Mlp


class Qwen3Moe(Decoder):
    """The model: embed, layer by layer, head."""

    names: ClassVar[Mapping[Layout, Names]] = {
        Layout.HUGGING_FACE: {
            **QWEN3_NAMES[Layout.HUGGING_FACE],
            "router": "mlp.gate",
            "expert": "mlp.experts.{}.",
            "expert_gate_proj": "gate_proj",
            "expert_up_proj": "up_proj",
            "expert_down_proj": "down_proj",
        },
        Layout.GGUF: {
            **QWEN3_NAMES[Layout.GGUF],
            "router": "ffn_gate_inp",
            "expert_gate_proj": "ffn_gate_exps",
            "expert_up_proj": "ffn_up_exps",
            "expert_down_proj": "ffn_down_exps",
        },
    }
    has_experts = True
    config: Qwen3MoeConfig

    def __init__(self, checkpoint: Checkpoint, options: Options) -> None:
        self.config = c = Qwen3MoeConfig.read(checkpoint, options)
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
            layer = Qwen3MoeLayer(
                Qwen3Attention.read(block, c, c.rms_norm_eps, rope, index),
                block.norm("post_attention_layernorm", c.hidden_size, c.rms_norm_eps),
                _moe(block, c)
                if index in c.sparse_layers
                else Qwen3Mlp.read(block, c.hidden_size, c.intermediate_size),
            )
            self.layers.append(layer)
        self.norm = top.norm("norm", c.hidden_size, c.rms_norm_eps)
        self.lm_head = top.head(self.embed_tokens, c.vocab_size, c.hidden_size)
        checkpoint.finish()

    def embed(self, ops: Ops[X]) -> X:
        """(T, hidden_size)."""
        return ops.embed(self.embed_tokens)

    def layer(self, ops: Ops[X], index: int, x: X) -> X:
        """x + attention, then + experts or SwiGLU: (T, hidden_size)."""
        w = self.layers[index]
        x = w.attention.run(ops, x)
        if isinstance(w.mlp, Moe):
            return ops.moe(x, w.post_attention_layernorm, w.mlp)
        return w.mlp.run(ops, x, w.post_attention_layernorm)

    def head(self, ops: Ops[X], x: X) -> X:
        """(R, vocab_size)."""
        return ops.logits(x, self.norm, self.lm_head)


def _moe(block: Section, c: Qwen3MoeConfig) -> Moe:
    def experts(role: str, rows: int, columns: int) -> Experts:
        shape = (c.num_local_experts, rows, columns)
        apart = "expert" in block.checkpoint.names
        return make_experts(block, (from_each if apart else stacked)(block, role, shape))

    return Moe(
        router=block.linear("router", c.num_local_experts, c.hidden_size),
        gate=experts("expert_gate_proj", c.moe_intermediate_size, c.hidden_size),
        up=experts("expert_up_proj", c.moe_intermediate_size, c.hidden_size),
        down=experts("expert_down_proj", c.hidden_size, c.moe_intermediate_size),
        num_local_experts=c.num_local_experts,
        num_experts_per_tok=c.num_experts_per_tok,
        routing=Routing.TOP_K_OF_SOFTMAX,
        activation=Activation.SILU,
        renormalize=c.norm_topk_prob,
    )
