"""Owns GGUF -> Hugging Face of Llama, Qwen3 (dense and MoE) and GPT-2: names, shapes and the
configuration, each the inverse of `dense`. Matrices keep their type; vectors become BF16 again when
that loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats.convert.config import Config, integer, real
from ingle.formats.convert.dense import GPT2_PARTS, LAYER, MLP
from ingle.formats.convert.lazy import (
    LazyTensor,
    as_f32,
    gathered,
    narrowed,
    require,
    require_dims,
    transposed,
)
from ingle.formats.mapping import quoted

Tensors = dict[str, LazyTensor]

_FLOATS = ("F32", "F16", "BF16")
_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
_PREFIXES = {"qwen3_moe": "qwen3moe"}


class _Taken:
    """GGUF's tensors, of which every one must be used."""

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self._left = dict(tensors)

    def has(self, name: str) -> bool:
        return name in self._left

    def matrix(self, name: str) -> LazyTensor:
        """A tensor in a type that safetensors has; Q8_0 becomes F32, others are refused."""
        tensor = self._left.pop(name, None)
        if tensor is None:
            rule = f"tensor {quoted(name)} must exist, but got a model without it"
            raise FileFormatError("model", rule)
        return tensor if tensor.format in _FLOATS else as_f32(tensor)

    def vector(self, name: str) -> LazyTensor:
        return narrowed(self.matrix(name))

    def finish(self) -> None:
        if self._left:
            name = quoted(min(self._left))
            rule = f"every tensor must be known, but got {name} ({len(self._left)} such)"
            raise UnsupportedError("model", rule)


def folder_tensors(
    architecture: str, tensors: Mapping[str, LazyTensor], sizes: Mapping[str, int]
) -> Tensors:
    """Tensors under Hugging Face's names of GGUF's. sizes: `ModelFacts.sizes`.

    Raises FileFormatError for a tensor that is missing, UnsupportedError for one that is not known
    or has a type that safetensors lacks.
    """
    taken = _Taken(tensors)
    found = _gpt2(taken, sizes) if architecture == "gpt2" else _llama(architecture, taken, sizes)
    taken.finish()
    return found


def _llama(architecture: str, taken: _Taken, sizes: Mapping[str, int]) -> Tensors:
    turned: dict[str, Callable[[LazyTensor], LazyTensor]] = {}
    if architecture == "llama":
        heads, kv_heads = _heads(sizes)
        turned["attn_q.weight"] = lambda tensor: _half_split_rotary(tensor, heads)
        turned["attn_k.weight"] = lambda tensor: _half_split_rotary(tensor, kv_heads)
    found = {
        "model.embed_tokens.weight": taken.matrix("token_embd.weight"),
        "model.norm.weight": taken.vector("output_norm.weight"),
    }
    if taken.has("output.weight"):
        found["lm_head.weight"] = taken.matrix("output.weight")
    for n in range(sizes.get("num_hidden_layers", 0)):
        hf, gguf = f"model.layers.{n}.", f"blk.{n}."
        for theirs, name in LAYER.items():
            take = taken.vector if "norm" in theirs else taken.matrix
            found[hf + name] = turned.get(theirs, _unchanged)(take(gguf + theirs))
        if architecture != "llama":
            for part in ("q", "k"):
                norm = taken.vector(f"{gguf}attn_{part}_norm.weight")
                found[f"{hf}self_attn.{part}_norm.weight"] = norm
        found |= _experts(taken, n) if architecture == "qwen3_moe" else _mlp(taken, n)
    return found


def _mlp(taken: _Taken, n: int) -> Tensors:
    prefix = f"model.layers.{n}.mlp."
    return {
        f"{prefix}{part}_proj.weight": taken.matrix(f"blk.{n}.ffn_{part}.weight") for part in MLP
    }


def _experts(taken: _Taken, n: int) -> Tensors:
    prefix = f"model.layers.{n}.mlp."
    found = {f"{prefix}gate.weight": taken.vector(f"blk.{n}.ffn_gate_inp.weight")}
    for part in MLP:
        stack = taken.matrix(f"blk.{n}.ffn_{part}_exps.weight")
        for e in range(require_dims(stack, 3).shape[0]):
            found[f"{prefix}experts.{e}.{part}_proj.weight"] = _unstacked(stack, e)
    return found


def _unstacked(stack: LazyTensor, index: int) -> LazyTensor:
    """One matrix of a stack."""
    return LazyTensor(
        f"{stack.name}[{index}]",
        stack.format,
        stack.shape[1:],
        lambda a, b: stack.rows(index, index + 1)[0, a:b],
    )


def _gpt2(taken: _Taken, sizes: Mapping[str, int]) -> Tensors:
    found = {
        "transformer.wte.weight": taken.matrix("token_embd.weight"),
        "transformer.wpe.weight": taken.vector("position_embd.weight"),
        "transformer.ln_f.weight": taken.vector("output_norm.weight"),
        "transformer.ln_f.bias": taken.vector("output_norm.bias"),
    }
    for n in range(sizes.get("num_hidden_layers", 0)):
        for theirs, name in GPT2_PARTS.items():
            hf, gguf = f"transformer.h.{n}.{name}", f"blk.{n}.{theirs}"
            is_matrix = "c_" in name
            weight = (taken.matrix if is_matrix else taken.vector)(f"{gguf}.weight")
            found[f"{hf}.weight"] = transposed(weight) if is_matrix else weight
            found[f"{hf}.bias"] = taken.vector(f"{gguf}.bias")
    return found


def _heads(sizes: Mapping[str, int]) -> tuple[int, int]:
    heads = integer(sizes, "num_attention_heads")
    return heads, integer(sizes, "num_key_value_heads", default=heads)


def _half_split_rotary(tensor: LazyTensor, heads: int) -> LazyTensor:
    """Row s * head_dim / 2 + i of each head is row 2i + s of the same head."""
    length = tensor.shape[0]
    if length % (2 * heads):
        require(tensor, (2 * heads, *tensor.shape[1:]))
    order = np.arange(length).reshape(heads, -1, 2).transpose(0, 2, 1).reshape(-1)
    return gathered(tensor, order)


def _unchanged(tensor: LazyTensor) -> LazyTensor:
    return tensor


def folder_config(
    architecture: str, metadata: Mapping[str, Any], vocab_size: int, tied: bool
) -> dict[str, Any]:
    """Hugging Face's dictionary of a GGUF file's metadata.

    Raises FileFormatError for sizes that are none, UnsupportedError for scaled rotary embeddings.
    """
    prefix = _PREFIXES.get(architecture, architecture) + "."
    keys = {key[len(prefix) :]: value for key, value in metadata.items() if key.startswith(prefix)}
    scaling = keys.get("rope.scaling.type", "none")
    if scaling != "none":
        raise UnsupportedError(f"{prefix}rope.scaling.type", f"must be none, but got {scaling!a}")
    common = {
        "architectures": [_CLASSES[architecture]],
        "model_type": architecture,
        "vocab_size": vocab_size,
        "tie_word_embeddings": tied,
        **{
            f"{role}_token_id": metadata[f"tokenizer.ggml.{key}_token_id"]
            for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
            if isinstance(metadata.get(f"tokenizer.ggml.{key}_token_id"), int)
        },
    }
    return common | (_gpt2_sizes(keys) if architecture == "gpt2" else _sizes(architecture, keys))


def _sizes(architecture: str, keys: Config) -> dict[str, Any]:
    hidden, heads = _count(keys, "embedding_length"), _count(keys, "attention.head_count")
    rotated = keys.get("rope.dimension_count") or max(1, hidden // heads)
    sizes = {
        "hidden_size": hidden,
        "num_hidden_layers": _count(keys, "block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": _count(keys, "attention.head_count_kv", heads),
        "head_dim": _count(keys, "attention.key_length", rotated),
        "intermediate_size": _count(keys, "feed_forward_length"),
        "max_position_embeddings": _count(keys, "context_length"),
        "rms_norm_eps": _short(keys, "attention.layer_norm_rms_epsilon", 1e-6),
        "rope_theta": _short(keys, "rope.freq_base", 10000.0),
        "hidden_act": "silu",
        "attention_bias": False,
    }
    if architecture != "qwen3_moe":
        return sizes
    return sizes | {
        "num_experts": _count(keys, "expert_count"),
        "num_experts_per_tok": _count(keys, "expert_used_count"),
        "moe_intermediate_size": _count(keys, "expert_feed_forward_length"),
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def _gpt2_sizes(keys: Config) -> dict[str, Any]:
    context = _count(keys, "context_length")
    return {
        "n_embd": _count(keys, "embedding_length"),
        "n_layer": _count(keys, "block_count"),
        "n_head": _count(keys, "attention.head_count"),
        "n_inner": _count(keys, "feed_forward_length"),
        "n_positions": context,
        "n_ctx": context,
        "layer_norm_epsilon": _short(keys, "attention.layer_norm_epsilon", 1e-5),
        "activation_function": "gelu_new",
    }


def _count(keys: Config, key: str, default: Any = None) -> int:
    return integer({key: keys.get(key, default)}, key)


def _short(keys: Config, name: str, default: float) -> float:
    """A float32 of a file as the shortest decimal that means it."""
    return float(str(np.float32(real(keys, name, default))))
