"""Owns what the layouts call tensors and settings, for what decoder models have in common.

Roles are Hugging Face's own short names. An architecture's file adds its own to these tables. It
does not know which tensors and settings an architecture needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Layout(StrEnum):
    """Whose names a checkpoint uses."""

    GGUF = "GGUF"
    HUGGING_FACE = "Hugging Face"
    OPENAI = "OpenAI"


# Role: stem of the tensor's name, or several where producers disagree, to which ".weight" or
# ".bias" is added. "block" is the prefix of a layer.
Names = Mapping[str, str | tuple[str, ...]]

# Setting: where the file keeps it, best first. Those not listed are named as Hugging Face does,
# except in GGUF, where they do not exist.
Keys = Mapping[str, tuple[str, ...]]

NAMES: Mapping[Layout, Names] = {
    Layout.HUGGING_FACE: {
        "block": "model.layers.{}.",
        "embed_tokens": "model.embed_tokens",
        "norm": "model.norm",
        "lm_head": "lm_head",
        "input_layernorm": "input_layernorm",
        "q_proj": "self_attn.q_proj",
        "k_proj": "self_attn.k_proj",
        "v_proj": "self_attn.v_proj",
        "o_proj": "self_attn.o_proj",
        "post_attention_layernorm": "post_attention_layernorm",
        "gate_proj": "mlp.gate_proj",
        "up_proj": "mlp.up_proj",
        "down_proj": "mlp.down_proj",
    },
    Layout.GGUF: {
        "block": "blk.{}.",
        "embed_tokens": "token_embd",
        "norm": "output_norm",
        "lm_head": "output",
        "lm_head_scan": "output_scan",
        "input_layernorm": "attn_norm",
        "q_proj": "attn_q",
        "k_proj": "attn_k",
        "v_proj": "attn_v",
        "qkv_proj": "attn_qkv",
        "o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "gate_proj": "ffn_gate",
        "up_proj": "ffn_up",
        "down_proj": "ffn_down",
    },
}


def _rope(*names: str) -> tuple[str, ...]:
    """Newer files keep these in `rope_parameters`, older ones in `rope_scaling`."""
    return tuple(
        f"{table}.{name}" for table in ("rope_parameters", "rope_scaling") for name in names
    )


KEYS: Mapping[Layout, Keys] = {
    Layout.HUGGING_FACE: {
        "num_local_experts": ("num_local_experts", "num_experts"),
        "num_experts_per_tok": ("num_experts_per_tok", "experts_per_token"),
        "rope_theta": ("rope_theta", *_rope("rope_theta")),
        "rope_type": _rope("rope_type", "type"),
        "partial_rotary_factor": ("partial_rotary_factor", *_rope("partial_rotary_factor")),
        "original_max_position_embeddings": _rope("original_max_position_embeddings"),
    }
    | {
        name: _rope(name)
        for name in (
            "factor",
            "beta_fast",
            "beta_slow",
            "truncate",
            "attention_factor",
            "mscale",
            "mscale_all_dim",
            "low_freq_factor",
            "high_freq_factor",
        )
    },
    # after the architecture's name and a dot
    Layout.GGUF: {
        "hidden_size": ("embedding_length",),
        "intermediate_size": ("feed_forward_length",),
        "moe_intermediate_size": ("expert_feed_forward_length",),
        "num_hidden_layers": ("block_count",),
        "num_attention_heads": ("attention.head_count",),
        "num_key_value_heads": ("attention.head_count_kv",),
        "head_dim": ("attention.key_length",),
        "value_dim": ("attention.value_length",),
        "rotary_dim": ("rope.dimension_count",),
        "num_local_experts": ("expert_count",),
        "num_experts_per_tok": ("expert_used_count",),
        "sliding_window": ("attention.sliding_window",),
        "max_position_embeddings": ("context_length",),
        "rms_norm_eps": ("attention.layer_norm_rms_epsilon",),
        "rope_theta": ("rope.freq_base",),
        "rope_type": ("rope.scaling.type",),
        "factor": ("rope.scaling.factor",),
        "original_max_position_embeddings": ("rope.scaling.original_context_length",),
        "beta_fast": ("rope.scaling.yarn_beta_fast",),
        "beta_slow": ("rope.scaling.yarn_beta_slow",),
    },
}
