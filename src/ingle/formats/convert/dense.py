"""Owns Hugging Face -> GGUF of the models that gpt-oss is compared with: Llama, Qwen3 (dense and
MoE) and GPT-2. Names, permutations and types are those of llama.cpp's converter; matrices keep the
type they are stored in, everything that is added or multiplied per channel becomes float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ingle.errors import UnsupportedError
from ingle.formats.container import Container
from ingle.formats.convert.config import Config, integer, real, rope, rope_theta
from ingle.formats.convert.lazy import (
    LazyTensor,
    as_f32,
    gathered,
    require,
    stacked,
    stored,
    transposed,
)
from ingle.formats.mapping import quoted

Tensors = dict[str, LazyTensor]
_Names = Iterator[tuple[str, LazyTensor]]

# GGUF's name in a layer: Hugging Face's.
LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}
MLP = ("gate", "up", "down")
GPT2_PARTS = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}


class _Model:
    """A Hugging Face model whose tensors must all be used."""

    def __init__(self, container: Container, config: Config) -> None:
        self.container = container
        self.config = config
        self.used: set[str] = set()

    def take(self, name: str) -> LazyTensor:
        self.used.add(name)
        return stored(self.container, name)

    def has(self, name: str) -> bool:
        return name in self.container.tensors

    def finish(self, ignored: tuple[str, ...] = ()) -> None:
        left = sorted(
            name
            for name in self.container.tensors
            if name not in self.used and not name.endswith(ignored or ("\0",))
        )
        if left:
            raise UnsupportedError(
                str(self.container.path),
                f"every tensor must be known, but got {quoted(left[0])} ({len(left)} such)",
            )


def llama_tensors(container: Container, config: Config) -> Tensors:
    """Llama: q and k rows are permuted to interleaved rotary pairs."""
    model = _Model(container, config)
    heads = integer(config, "num_attention_heads")
    kv_heads = integer(config, "num_key_value_heads", default=heads)
    order: dict[str, Callable[[LazyTensor], LazyTensor]] = {
        "attn_q.weight": lambda tensor: _interleaved_rotary(tensor, heads),
        "attn_k.weight": lambda tensor: _interleaved_rotary(tensor, kv_heads),
    }
    found = dict(_top(model))
    for n in range(integer(config, "num_hidden_layers")):
        for gguf, hf in LAYER.items():
            tensor = model.take(f"model.layers.{n}.{hf}")
            found[f"blk.{n}.{gguf}"] = order.get(gguf, _unchanged)(tensor)
        found |= _mlp(model, n)
    model.finish(("rotary_emb.inv_freq",))
    return _typed(found)


def qwen3_tensors(container: Container, config: Config) -> Tensors:
    """Qwen3, dense or with experts: per-expert matrices are stacked, nothing is permuted."""
    model = _Model(container, config)
    experts = config.get("model_type") == "qwen3_moe"
    found = dict(_top(model))
    for n in range(integer(config, "num_hidden_layers")):
        for gguf, hf in LAYER.items():
            found[f"blk.{n}.{gguf}"] = model.take(f"model.layers.{n}.{hf}")
        for part in ("q", "k"):
            norm = f"model.layers.{n}.self_attn.{part}_norm.weight"
            found[f"blk.{n}.attn_{part}_norm.weight"] = model.take(norm)
        found |= _experts(model, n) if experts else _mlp(model, n)
    model.finish()
    return _typed(found)


def gpt2_tensors(container: Container, config: Config) -> Tensors:
    """GPT-2: Conv1D matrices (in, out) are transposed; the output matrix is the embedding."""
    model = _Model(container, config)
    root = "transformer." if model.has("transformer.wte.weight") else ""
    found = {
        "token_embd.weight": model.take(root + "wte.weight"),
        "position_embd.weight": as_f32(model.take(root + "wpe.weight")),
        "output_norm.weight": model.take(root + "ln_f.weight"),
        "output_norm.bias": model.take(root + "ln_f.bias"),
    }
    for n in range(integer(config, "n_layer")):
        for gguf, hf in GPT2_PARTS.items():
            weight = model.take(f"{root}h.{n}.{hf}.weight")
            found[f"blk.{n}.{gguf}.weight"] = transposed(weight) if "c_" in hf else weight
            found[f"blk.{n}.{gguf}.bias"] = model.take(f"{root}h.{n}.{hf}.bias")
    if model.has("lm_head.weight"):  # a copy of the embedding
        model.used.add("lm_head.weight")
    model.finish((".attn.bias", ".attn.masked_bias"))
    return _typed(found)


def metadata(config: Config) -> dict[str, Any]:
    """GGUF keys of Llama, Qwen3, Qwen3-MoE or GPT-2."""
    model_type = str(config.get("model_type"))
    if model_type == "gpt2":
        return _gpt2_metadata(config)
    architecture = "qwen3moe" if model_type == "qwen3_moe" else model_type
    scaling = rope(config)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        raise UnsupportedError(
            "config rope_scaling", f"rope must be unscaled, but got {kind!r:.80}"
        )
    heads, hidden = integer(config, "num_attention_heads"), integer(config, "hidden_size")
    head_dim = integer(config, "head_dim", default=max(1, hidden // heads))
    sizes = {
        "block_count": integer(config, "num_hidden_layers"),
        "context_length": integer(config, "max_position_embeddings"),
        "embedding_length": hidden,
        "feed_forward_length": integer(config, "intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": integer(config, "num_key_value_heads", default=heads),
        "rope.freq_base": rope_theta(config),
        "attention.layer_norm_rms_epsilon": real(config, "rms_norm_eps", 1e-6),
    }
    if model_type == "llama":
        sizes |= {"vocab_size": integer(config, "vocab_size"), "rope.dimension_count": head_dim}
    if model_type != "llama" or config.get("head_dim"):
        sizes |= {"attention.key_length": head_dim, "attention.value_length": head_dim}
    if model_type == "qwen3_moe":
        _require_plain_routing(config)
        sizes |= {
            "expert_count": integer(config, "num_experts", "num_local_experts"),
            "expert_used_count": integer(config, "num_experts_per_tok"),
            "expert_feed_forward_length": integer(config, "moe_intermediate_size"),
        }
    return {
        "general.architecture": architecture,
        **{f"{architecture}.{key}": value for key, value in sizes.items()},
    }


def _gpt2_metadata(config: Config) -> dict[str, Any]:
    hidden = integer(config, "n_embd")
    return {
        "general.architecture": "gpt2",
        "gpt2.block_count": integer(config, "n_layer"),
        "gpt2.context_length": integer(config, "n_positions", "n_ctx"),
        "gpt2.embedding_length": hidden,
        "gpt2.feed_forward_length": integer(config, "n_inner", default=4 * hidden),
        "gpt2.attention.head_count": integer(config, "n_head"),
        "gpt2.attention.layer_norm_epsilon": real(config, "layer_norm_epsilon", 1e-5),
    }


def _require_plain_routing(config: Config) -> None:
    plain = config.get("norm_topk_prob") is True and not config.get("mlp_only_layers")
    if not plain or config.get("decoder_sparse_step", 1) != 1:
        raise UnsupportedError(
            "config norm_topk_prob", "every layer must be a mixture with normalized weights"
        )


def _top(model: _Model) -> _Names:
    yield "token_embd.weight", model.take("model.embed_tokens.weight")
    yield "output_norm.weight", model.take("model.norm.weight")
    if model.has("lm_head.weight"):
        head = model.take("lm_head.weight")
        if model.config.get("tie_word_embeddings") is not True:
            yield "output.weight", head


def _mlp(model: _Model, n: int) -> Tensors:
    return {
        f"blk.{n}.ffn_{part}.weight": model.take(f"model.layers.{n}.mlp.{part}_proj.weight")
        for part in MLP
    }


def _experts(model: _Model, n: int) -> Tensors:
    prefix, count = (
        f"model.layers.{n}.mlp.",
        integer(model.config, "num_experts", "num_local_experts"),
    )
    found = {f"blk.{n}.ffn_gate_inp.weight": as_f32(model.take(prefix + "gate.weight"))}
    for part in MLP:
        each = [model.take(f"{prefix}experts.{e}.{part}_proj.weight") for e in range(count)]
        found[f"blk.{n}.ffn_{part}_exps.weight"] = stacked(each)
    return found


def _interleaved_rotary(tensor: LazyTensor, heads: int) -> LazyTensor:
    """Row 2i + s of each head is row s * head_dim / 2 + i of the same head."""
    length = tensor.shape[0]
    if length % (2 * heads):
        require(tensor, (2 * heads, *tensor.shape[1:]))
    order = np.arange(length).reshape(heads, 2, -1).transpose(0, 2, 1).reshape(-1)
    return gathered(tensor, order)


def _unchanged(tensor: LazyTensor) -> LazyTensor:
    return tensor


def _typed(tensors: Tensors) -> Tensors:
    """Vectors become float32."""
    return {
        name: as_f32(tensor) if len(tensor.shape) == 1 else tensor
        for name, tensor in tensors.items()
    }
