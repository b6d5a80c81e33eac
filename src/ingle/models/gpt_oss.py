"""gpt-oss (OpenAI 2025): Llama with attention sinks, every other layer a sliding window, YaRN, and
a mixture of experts with a clamped SwiGLU. After OpenAI's gpt_oss/torch/model.py.

Every layout is read: Hugging Face (experts in MXFP4 or dequantized), OpenAI's `original/`, GGUF as
llama.cpp writes it, and both dialects of Ollama. OpenAI does not round YaRN's range, llama.cpp
does; the default is OpenAI's, and `truncate_yarn` gives llama.cpp's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ingle.errors import FileFormatError
from ingle.models.checkpoint import Checkpoint, Section
from ingle.models.config import Config
from ingle.models.decoder import (
    MAX_CONTEXT,
    MAX_EXPERTS,
    MAX_INTERMEDIATE,
    MAX_LAYERS,
    Decoder,
    DecoderConfig,
    Options,
    chosen_experts,
)
from ingle.models.experts import (
    EVEN_ROWS,
    EVERY_ROW,
    ODD_ROWS,
    from_blocks,
    from_columns,
    make_experts,
    stacked,
)
from ingle.models.names import KEYS, NAMES, Keys, Layout, Names
from ingle.models.rope import rope_table
from ingle.ops import (
    Activation,
    Experts,
    Linear,
    Moe,
    Norm,
    Ops,
    Rotation,
    Routing,
    Weight,
    X,
)
from ingle.ops.protocol import GPT_OSS_ALPHA, GPT_OSS_LIMIT

_SLIDING, _FULL = "sliding_attention", "full_attention"
_YARN_FACTOR, _TRAINED_CONTEXT = 32.0, 4096


@dataclass(frozen=True)
class GptOssConfig(DecoderConfig):
    """Hugging Face's names. layer_types: "sliding_attention" or "full_attention" per layer."""

    intermediate_size: int
    rms_norm_eps: float
    num_local_experts: int
    num_experts_per_tok: int
    sliding_window: int
    layer_types: tuple[str, ...]

    @classmethod
    def read(cls, checkpoint: Checkpoint, options: Options) -> GptOssConfig:
        """FileFormatError names the value that is wrong, UnsupportedError what is not built."""
        c = checkpoint.config
        sizes = DecoderConfig.read_sizes(checkpoint, _context_tokens(c))
        c.require("hidden_act", "silu")  # what the files say; what is meant is below
        c.require("swiglu_limit", GPT_OSS_LIMIT, int(GPT_OSS_LIMIT))
        c.require("swiglu_alpha", GPT_OSS_ALPHA)
        c.require("attention_bias", True)
        experts = c.integer("num_local_experts", high=MAX_EXPERTS)
        types = _layer_types(c, sizes.num_hidden_layers)
        window = c.integer("sliding_window", high=MAX_CONTEXT) if _SLIDING in types else 0
        return cls(
            **vars(sizes),
            intermediate_size=c.integer("intermediate_size", high=MAX_INTERMEDIATE),
            rms_norm_eps=c.real("rms_norm_eps", 1e-5, low=0.0, high=1.0),
            num_local_experts=experts,
            num_experts_per_tok=chosen_experts(c, options, experts),
            sliding_window=window,
            layer_types=types,
        )

    def window(self, layer: int) -> int:
        """Positions a layer sees, itself included; 0 for all."""
        return self.sliding_window if self.layer_types[layer] == _SLIDING else 0


def _context_tokens(c: Config) -> int:
    """What YaRN stretches the context to: OpenAI's file does not state the product."""
    trained = c.integer("original_max_position_embeddings", _TRAINED_CONTEXT, high=MAX_CONTEXT)
    return round(trained * c.real("factor", _YARN_FACTOR, low=1.0, high=1e6))


def _layer_types(c: Config, num_hidden_layers: int) -> tuple[str, ...]:
    """As the file lists them, else sliding and full in turn."""
    period = c.integer("sliding_window_pattern", 2, high=MAX_LAYERS)
    stated = c.items("layer_types")
    if stated is None:
        layers = range(num_hidden_layers)
        return tuple(_FULL if layer % period == period - 1 else _SLIDING for layer in layers)
    if len(stated) != num_hidden_layers or not all(kind in (_SLIDING, _FULL) for kind in stated):
        raise FileFormatError(
            f"{c.where} layer_types",
            f"value must be {_SLIDING} or {_FULL} for each of {num_hidden_layers} layers, "
            f"but got {stated!a:.80}",
        )
    return stated


@dataclass(frozen=True)
class GptOssLayer:
    """Weights of one block; every linear layer has a bias."""

    input_layernorm: Norm
    q_proj: Linear  # (num_attention_heads * head_dim, hidden_size)
    k_proj: Linear  # (num_key_value_heads * head_dim, hidden_size)
    v_proj: Linear
    sinks: Weight  # (num_attention_heads,)
    o_proj: Linear  # (hidden_size, num_attention_heads * head_dim)
    post_attention_layernorm: Norm
    mlp: Moe

    @classmethod
    def read(cls, block: Section, c: GptOssConfig) -> GptOssLayer:
        """From the tensors of a block."""
        q_proj, k_proj, v_proj = block.qkv(c.qkv_rows, c.hidden_size, bias=True)
        return cls(
            block.norm("input_layernorm", c.hidden_size, c.rms_norm_eps),
            q_proj,
            k_proj,
            v_proj,
            block.vector("sinks", c.num_attention_heads),
            block.linear("o_proj", c.hidden_size, c.q_width, bias=True),
            block.norm("post_attention_layernorm", c.hidden_size, c.rms_norm_eps),
            _moe(block, c),
        )


class GptOss(Decoder):
    """The model: embed, layer by layer, head."""

    names: ClassVar[Mapping[Layout, Names]] = {
        Layout.HUGGING_FACE: {
            **NAMES[Layout.HUGGING_FACE],
            "sinks": "self_attn.sinks",
            "router": "mlp.router",
            "gate_up": "mlp.experts.gate_up_proj",
            "gate_up_blocks": "mlp.experts.gate_up_proj_blocks",
            "gate_up_scales": "mlp.experts.gate_up_proj_scales",
            "gate_up_bias": "mlp.experts.gate_up_proj_bias",
            "down": "mlp.experts.down_proj",
            "down_blocks": "mlp.experts.down_proj_blocks",
            "down_scales": "mlp.experts.down_proj_scales",
            "down_bias": "mlp.experts.down_proj_bias",
        },
        Layout.OPENAI: {
            "block": "block.{}.",
            "embed_tokens": "embedding",
            "norm": "norm",
            "lm_head": "unembedding",
            "input_layernorm": "attn.norm",
            "qkv_proj": "attn.qkv",
            "sinks": "attn.sinks",
            "o_proj": "attn.out",
            "post_attention_layernorm": "mlp.norm",
            "router": "mlp.gate",
            "gate_up_blocks": "mlp.mlp1_weight.blocks",
            "gate_up_scales": "mlp.mlp1_weight.scales",
            "gate_up_bias": "mlp.mlp1_bias",
            "down_blocks": "mlp.mlp2_weight.blocks",
            "down_scales": "mlp.mlp2_weight.scales",
            "down_bias": "mlp.mlp2_bias",
        },
        Layout.GGUF: {  # the second of two names is Ollama's
            **NAMES[Layout.GGUF],
            "sinks": "attn_sinks",
            "o_proj": ("attn_output", "attn_out"),
            "post_attention_layernorm": ("post_attention_norm", "ffn_norm"),
            "router": "ffn_gate_inp",
            "gate": "ffn_gate_exps",
            "up": "ffn_up_exps",
            "down": "ffn_down_exps",
            "gate_up_in_turn": "ffn_gate_up_exps",
        },
    }
    keys: ClassVar[Mapping[Layout, Keys]] = {
        Layout.HUGGING_FACE: KEYS[Layout.HUGGING_FACE],
        Layout.OPENAI: {
            "num_local_experts": ("num_experts",),
            "num_experts_per_tok": ("experts_per_token",),
            "original_max_position_embeddings": ("initial_context_length",),
            "factor": ("rope_scaling_factor",),
            "beta_slow": ("rope_ntk_alpha",),
            "beta_fast": ("rope_ntk_beta",),
        },
        Layout.GGUF: {
            **KEYS[Layout.GGUF],
            "intermediate_size": ("expert_feed_forward_length", "feed_forward_length"),
            "sliding_window_pattern": ("attention.sliding_window_pattern",),
        },
    }
    has_experts = True
    config: GptOssConfig

    def __init__(self, checkpoint: Checkpoint, options: Options) -> None:
        self.config = c = GptOssConfig.read(checkpoint, options)
        top = checkpoint.top
        self.embed_tokens = top.matrix("embed_tokens", c.vocab_size, c.hidden_size)
        self.layers = [
            GptOssLayer.read(checkpoint.block(index), c) for index in range(c.num_hidden_layers)
        ]
        self.norm = top.norm("norm", c.hidden_size, c.rms_norm_eps)
        self.lm_head = top.head(self.embed_tokens, c.vocab_size, c.hidden_size)
        rope = rope_table(
            checkpoint.config,
            c.head_dim,
            options.context_tokens,
            rope_theta=150000.0,
            rope_type="yarn",
            yarn_factor=_YARN_FACTOR,
            original_max_position_embeddings=_TRAINED_CONTEXT,
            truncate_yarn=options.truncate_yarn,
            rounds_yarn=False,
        )
        self.rotation = Rotation(rope)
        checkpoint.finish()

    def embed(self, ops: Ops[X]) -> X:
        """(T, hidden_size)."""
        return ops.embed(self.embed_tokens)

    def layer(self, ops: Ops[X], index: int, x: X) -> X:
        """x + attention, then + the chosen experts: (T, hidden_size)."""
        w = self.layers[index]
        q, k, v = ops.qkv(x, w.input_layernorm, w.q_proj, w.k_proj, w.v_proj)
        attended = ops.attention(q, k, v, self.config.shape(index), self.rotation, w.sinks)
        x = ops.attention_out(x, attended, w.o_proj)
        return ops.moe(x, w.post_attention_layernorm, w.mlp)

    def head(self, ops: Ops[X], x: X) -> X:
        """(R, vocab_size)."""
        return ops.logits(x, self.norm, self.lm_head)


def _moe(block: Section, c: GptOssConfig) -> Moe:
    gate, up, down = _experts(block, c)
    return Moe(
        router=block.linear("router", c.num_local_experts, c.hidden_size, bias=True),
        gate=gate,
        up=up,
        down=down,
        num_local_experts=c.num_local_experts,
        num_experts_per_tok=c.num_experts_per_tok,
        routing=Routing.SOFTMAX_OF_TOP_K,
        activation=Activation.CLAMPED_SWIGLU,
    )


def _experts(block: Section, c: GptOssConfig) -> tuple[Experts, Experts, Experts]:
    """Gate, up and down of all experts. Files that keep gate and up as one have their rows in turn:
    even ones gate, odd ones up."""
    inner = (c.num_local_experts, c.intermediate_size, c.hidden_size)
    outer = (c.num_local_experts, c.hidden_size, c.intermediate_size)
    if block.checkpoint.layout != Layout.GGUF:
        return (
            _one_of_two(block, "gate_up", inner, EVEN_ROWS),
            _one_of_two(block, "gate_up", inner, ODD_ROWS),
            _one_of_two(block, "down", outer, EVERY_ROW),
        )
    down = make_experts(block, stacked(block, "down", outer), block.biases("down", outer[:2]))
    if not block.has("gate_up_in_turn"):
        gate, up = (
            make_experts(block, stacked(block, role, inner), block.biases(role, inner[:2]))
            for role in ("gate", "up")
        )
        return gate, up, down
    fused = "gate_up_in_turn"
    name, biases = block.biases(fused, (inner[0], 2 * inner[1]))
    gate, up = (
        make_experts(block, stacked(block, fused, inner, rows), (name, biases[:, rows]))
        for rows in (EVEN_ROWS, ODD_ROWS)
    )
    return gate, up, down


def _one_of_two(block: Section, role: str, shape: tuple[int, int, int], rows: slice) -> Experts:
    """A stack and its biases out of a Hugging Face or OpenAI file."""
    experts, count, _ = shape
    name, biases = block.values(f"{role}_bias", (experts, count * (rows.step or 1)))
    if block.has(role):
        tensor = from_columns(block, role, shape, rows)
    else:
        tensor = from_blocks(block, f"{role}_blocks", f"{role}_scales", shape, rows)
    return make_experts(block, tensor, (name, biases[:, rows]))
