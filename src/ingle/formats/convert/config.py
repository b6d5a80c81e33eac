"""Owns models' configurations in the three spellings: `config.json` of Hugging Face and of OpenAI,
and GGUF metadata.

Hugging Face's dictionary is the middle. Values are checked to be sane numbers before anything is
sized by them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ingle.errors import FileFormatError

Config = Mapping[str, Any]

_LIMITS = {
    "num_hidden_layers": 1 << 10,
    "hidden_size": 1 << 18,
    "intermediate_size": 1 << 20,
    "moe_intermediate_size": 1 << 20,
    "num_attention_heads": 1 << 12,
    "num_key_value_heads": 1 << 12,
    "head_dim": 1 << 12,
    "num_local_experts": 1 << 12,
    "num_experts": 1 << 12,
    "num_experts_per_tok": 1 << 12,
    "experts_per_token": 1 << 12,
    "sliding_window": 1 << 24,
    "initial_context_length": 1 << 28,
    "max_position_embeddings": 1 << 28,
    "vocab_size": 1 << 24,
    "n_layer": 1 << 10,
    "n_embd": 1 << 18,
    "n_head": 1 << 12,
    "n_positions": 1 << 28,
}

# GGUF key under the prefix: Hugging Face's.
_GPT_OSS_SIZES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "expert_count": "num_local_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "intermediate_size",
}

# How transformers is told that experts are MXFP4 and all else is not.
MXFP4_EXPERTS = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}


def integer(config: Config, *names: str, default: int | None = None) -> int:
    """The first of these keys that exists, as a whole number from 1 to its limit."""
    name = next((name for name in names if config.get(name) is not None), names[0])
    value = config.get(name, default)
    value = default if value is None else value
    limit = _LIMITS.get(names[0], 1 << 31)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        rule = f"value must be a whole number from 1 to {limit}, but got {value!r:.80}"
        raise FileFormatError(f"config {name}", rule)
    return value


def real(config: Config, name: str, default: float | None = None) -> float:
    """A finite number above zero."""
    value = config.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        rule = f"value must be a number above 0, but got {value!r:.80}"
        raise FileFormatError(f"config {name}", rule)
    return float(value)


def table(config: Config, name: str) -> Config:
    """A nested object; empty when it is absent or null."""
    value = config.get(name) or {}
    if not isinstance(value, dict):
        raise FileFormatError(f"config {name}", f"value must be an object, but got {value!r:.80}")
    return value


def gpt_oss_sizes(config: Config) -> dict[str, int]:
    """The numbers that tensors' shapes follow from."""
    names = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
    return {name: integer(config, name) for name in names}


def from_openai(config: Config) -> dict[str, Any]:
    """Hugging Face's dictionary of OpenAI's."""
    factor = real(config, "rope_scaling_factor", 32.0)
    trained = integer(config, "initial_context_length", default=4096)
    return _gpt_oss(
        sizes={
            "num_hidden_layers": integer(config, "num_hidden_layers"),
            "hidden_size": integer(config, "hidden_size"),
            "intermediate_size": integer(config, "intermediate_size"),
            "num_attention_heads": integer(config, "num_attention_heads"),
            "num_key_value_heads": integer(config, "num_key_value_heads"),
            "head_dim": integer(config, "head_dim"),
            "num_local_experts": integer(config, "num_experts"),
            "num_experts_per_tok": integer(config, "experts_per_token"),
            "sliding_window": integer(config, "sliding_window"),
            "vocab_size": integer(config, "vocab_size"),
            "max_position_embeddings": round(trained * factor),
        },
        rope_theta=real(config, "rope_theta"),
        yarn={
            "factor": factor,
            "original_max_position_embeddings": trained,
            "beta_slow": real(config, "rope_ntk_alpha", 1.0),
            "beta_fast": real(config, "rope_ntk_beta", 32.0),
        },
        eps=1e-5,
    )


def to_openai(config: Config) -> dict[str, Any]:
    """OpenAI's dictionary of Hugging Face's."""
    yarn = rope(config)
    return {
        "num_hidden_layers": integer(config, "num_hidden_layers"),
        "num_experts": integer(config, "num_local_experts"),
        "experts_per_token": integer(config, "num_experts_per_tok", "experts_per_token"),
        "vocab_size": integer(config, "vocab_size"),
        "hidden_size": integer(config, "hidden_size"),
        "intermediate_size": integer(config, "intermediate_size"),
        "swiglu_limit": real(config, "swiglu_limit", 7.0),
        "head_dim": integer(config, "head_dim"),
        "num_attention_heads": integer(config, "num_attention_heads"),
        "num_key_value_heads": integer(config, "num_key_value_heads"),
        "sliding_window": integer(config, "sliding_window"),
        "initial_context_length": _trained_context(config, yarn),
        "rope_theta": _whole(rope_theta(config)),
        "rope_scaling_factor": real(yarn, "factor", 32.0),
        "rope_ntk_alpha": _whole(real(yarn, "beta_slow", 1.0)),
        "rope_ntk_beta": _whole(real(yarn, "beta_fast", 32.0)),
    }


def from_gguf(metadata: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """Hugging Face's dictionary of gpt-oss metadata, under either producer's prefix."""
    prefix = f"{metadata.get('general.architecture')}."
    keys = {key[len(prefix) :]: value for key, value in metadata.items() if key.startswith(prefix)}
    keys.setdefault("expert_feed_forward_length", keys.get("feed_forward_length"))
    yarn = {
        "factor": _short(keys, "rope.scaling.factor", 32.0),
        "original_max_position_embeddings": integer(
            keys, "rope.scaling.original_context_length", default=4096
        ),
        "beta_slow": _short(keys, "rope.scaling.yarn_beta_slow", 1.0),
        "beta_fast": _short(keys, "rope.scaling.yarn_beta_fast", 32.0),
    }
    sizes = {name: integer({name: keys.get(key)}, name) for key, name in _GPT_OSS_SIZES.items()}
    ends = {
        f"{role}_token_id": metadata[f"tokenizer.ggml.{key}_token_id"]
        for role, key in (("eos", "eos"), ("pad", "padding"))
        if isinstance(metadata.get(f"tokenizer.ggml.{key}_token_id"), int)
    }
    return ends | _gpt_oss(
        sizes=sizes | {"vocab_size": vocab_size},
        rope_theta=_short(keys, "rope.freq_base", 150000.0),
        yarn=yarn,
        eps=_short(keys, "attention.layer_norm_rms_epsilon", 1e-5),
    )


def gpt_oss_metadata(config: Config) -> dict[str, Any]:
    """GGUF keys of a gpt-oss model, as llama.cpp's converter writes them."""
    prefix, yarn = "gpt-oss.", rope(config)
    return {
        "general.architecture": "gpt-oss",
        **{prefix + key: integer(config, name) for key, name in _GPT_OSS_SIZES.items()},
        prefix + "rope.scaling.type": "yarn",
        prefix + "rope.scaling.factor": real(yarn, "factor", 32.0),
        prefix + "rope.scaling.original_context_length": _trained_context(config, yarn),
        prefix + "rope.scaling.yarn_beta_fast": real(yarn, "beta_fast", 32.0),
        prefix + "rope.scaling.yarn_beta_slow": real(yarn, "beta_slow", 1.0),
        prefix + "rope.freq_base": rope_theta(config),
        prefix + "attention.layer_norm_rms_epsilon": real(config, "rms_norm_eps"),
    }


def rope(config: Config) -> Config:
    """RoPE scaling under its older or newer name."""
    return table(config, "rope_scaling") or table(config, "rope_parameters")


def rope_theta(config: Config) -> float:
    """Base of the rotary frequencies, wherever the file keeps it."""
    return real({**table(config, "rope_parameters"), **config}, "rope_theta", 10000.0)


def _trained_context(config: Config, yarn: Config) -> int:
    key = "original_max_position_embeddings"
    return integer(yarn, key, default=integer(config, "initial_context_length", default=4096))


def _short(keys: Config, name: str, default: float) -> float:
    """A float32 of a file as the shortest decimal that means it: 1e-05, not 9.99999974e-06."""
    return float(str(np.float32(real(keys, name, default))))


def _whole(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _gpt_oss(
    sizes: Mapping[str, int], rope_theta: float, yarn: Mapping[str, float], eps: float
) -> dict[str, Any]:
    layers = sizes["num_hidden_layers"]
    kinds = ("sliding_attention", "full_attention")
    return {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        **sizes,
        "experts_per_token": sizes["num_experts_per_tok"],
        "initial_context_length": yarn["original_max_position_embeddings"],
        "layer_types": [kinds[n % 2] for n in range(layers)],
        "attention_bias": True,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "rms_norm_eps": eps,
        "rope_theta": _whole(rope_theta),
        "rope_scaling": {"rope_type": "yarn", **yarn, "truncate": False},
        "swiglu_limit": 7.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "quantization_config": MXFP4_EXPERTS,
    }
