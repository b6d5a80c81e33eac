"""Owns the models that can be synthesized, as Hugging Face's `config.json` would state them.

Sizes are those of the published models; the tiny ones are for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ingle.errors import IngleError, UnsupportedError
from ingle.formats.convert import config as configs
from ingle.formats.synth import byte_vocabulary

Config = dict[str, Any]
_MAX_LAYERS, _MAX_EXPERTS = 1 << 10, 1 << 12


def _gpt_oss(layers: int, experts: int, **changes: int) -> Config:
    openai = {
        "num_hidden_layers": layers,
        "num_experts": experts,
        "experts_per_token": 4,
        "vocab_size": 201088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "swiglu_limit": 7.0,
        "head_dim": 64,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "sliding_window": 128,
        "initial_context_length": 4096,
        "rope_theta": 150000,
        "rope_scaling_factor": 32.0,
        "rope_ntk_alpha": 1,
        "rope_ntk_beta": 32,
    }
    stated = {
        "eos_token_id": 200002,
        "pad_token_id": 199999,
        "initializer_range": 0.02,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.9,
        "transformers_version": "4.55.0.dev0",
        "use_cache": True,
    }
    if changes.get("vocab_size") == byte_vocabulary.VOCAB_SIZE:
        stated |= {
            "eos_token_id": byte_vocabulary.RETURN_ID,
            "pad_token_id": byte_vocabulary.END_ID,
        }
    return {**configs.from_openai(openai | changes), **stated}


def _llama(model_type: str, class_name: str, **sizes: Any) -> Config:
    return {
        "architectures": [class_name],
        "model_type": model_type,
        "attention_bias": False,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        **sizes,
    }


def _smollm2(**changes: int) -> Config:
    sizes = {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rope_theta": 100000,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    }
    return _llama("llama", "LlamaForCausalLM", **sizes | changes)


def _qwen3(**changes: int) -> Config:
    sizes = {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rope_theta": 1000000,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }
    return _llama("qwen3", "Qwen3ForCausalLM", **sizes | changes)


def _qwen3_moe(**changes: int) -> Config:
    sizes = {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rope_theta": 1000000,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }
    return _llama("qwen3_moe", "Qwen3MoeForCausalLM", **sizes | changes)


def _gpt2(**changes: int) -> Config:
    sizes = {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
    sizes |= changes
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        **sizes,
        "n_ctx": sizes["n_positions"],
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "torch_dtype": "bfloat16",
    }


_TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": byte_vocabulary.VOCAB_SIZE,
}
_TINY_GPT_OSS = _TINY | {"head_dim": 32, "sliding_window": 16}
_TINY_QWEN3 = _TINY | {"head_dim": 32, "max_position_embeddings": 1024}
_TINY_MOE = _TINY_QWEN3 | {"moe_intermediate_size": 32, "num_experts": 16, "num_experts_per_tok": 4}
_TINY_GPT2 = {
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "vocab_size": byte_vocabulary.VOCAB_SIZE,
}

_MODELS: dict[str, Callable[[], Config]] = {
    "gpt-oss:20b": lambda: _gpt_oss(24, 32),
    "gpt-oss:120b": lambda: _gpt_oss(36, 128),
    "qwen3:30b-a3b": _qwen3_moe,
    "qwen3:0.6b": _qwen3,
    "smollm2:135m": _smollm2,
    "gpt2": _gpt2,
    "tiny-gpt-oss": lambda: _gpt_oss(2, 8, **_TINY_GPT_OSS),
    "tiny-qwen3moe": lambda: _qwen3_moe(**_TINY_MOE),
    "tiny-qwen3": lambda: _qwen3(**_TINY_QWEN3),
    "tiny-llama": lambda: _smollm2(**_TINY, max_position_embeddings=1024),
    "tiny-gpt2": lambda: _gpt2(**_TINY_GPT2),
}
NAMES = tuple(_MODELS)

_LAYERS = {"gpt2": "n_layer"}
_EXPERTS = {"gpt_oss": "num_local_experts", "qwen3_moe": "num_experts"}


def config_of(name: str, layers: int | None = None, experts: int | None = None) -> Config:
    """Hugging Face's dictionary of a model, perhaps of fewer (or more) layers or experts.

    Raises IngleError for an unknown name or impossible sizes.
    """
    if name not in _MODELS:
        raise IngleError("name", f"model must be one of {', '.join(NAMES)}, but got {name!a:.80}")
    config = _MODELS[name]()
    model_type = config["model_type"]
    if layers is not None:
        if not 1 <= layers <= _MAX_LAYERS:
            rule = f"layers must be from 1 to {_MAX_LAYERS}, but got {layers}"
            raise IngleError("--layers", rule)
        config[_LAYERS.get(model_type, "num_hidden_layers")] = layers
        if "layer_types" in config:
            config["layer_types"] = [config["layer_types"][n % 2] for n in range(layers)]
    if experts is not None:
        if model_type not in _EXPERTS:
            raise UnsupportedError("--experts", f"model must have experts, but got {name}")
        fewest = config["num_experts_per_tok"]
        if not fewest <= experts <= _MAX_EXPERTS:
            rule = f"experts must be from {fewest} to {_MAX_EXPERTS}, but got {experts}"
            raise IngleError("--experts", rule, f"every token goes to {fewest} of them")
        config[_EXPERTS[model_type]] = experts
    return config
