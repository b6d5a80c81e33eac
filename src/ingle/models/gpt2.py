"""GPT-2 (Radford et al. 2019): LayerNorm with biases, learned positions, GELU, fused q, k and v.

Its checkpoints keep matrices as (in, out); GGUF turns them. Its odd names for settings and tensors
end here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ingle.models.checkpoint import Checkpoint, Section
from ingle.models.decoder import MAX_INTERMEDIATE, Decoder, DecoderConfig, Options
from ingle.models.names import KEYS, NAMES, Keys, Layout, Names
from ingle.ops import Activation, Linear, Norm, Ops, Rotation, X


@dataclass(frozen=True)
class Gpt2Config(DecoderConfig):
    """Hugging Face's names of other models: n_embd is hidden_size, and so on."""

    intermediate_size: int
    layer_norm_epsilon: float

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Gpt2Config:
        """FileFormatError names the value that is wrong, UnsupportedError what is not built."""
        c, sizes = checkpoint.config, DecoderConfig.read_sizes(checkpoint)
        c.require("hidden_act", "gelu_new", "gelu_pytorch_tanh")
        c.require("scale_attn_weights", True)
        c.require("scale_attn_by_inverse_layer_idx", False)
        c.require("add_cross_attention", False)
        usual = min(4 * sizes.hidden_size, MAX_INTERMEDIATE)
        return cls(
            **vars(sizes),
            intermediate_size=c.integer("intermediate_size", usual, high=MAX_INTERMEDIATE),
            layer_norm_epsilon=c.real("layer_norm_epsilon", 1e-5, low=0.0, high=1.0),
        )


@dataclass(frozen=True)
class Gpt2Layer:
    """Weights of one block; everything has a bias."""

    ln_1: Norm
    q_attn: Linear  # (hidden_size, hidden_size), a third of c_attn each
    k_attn: Linear
    v_attn: Linear
    c_proj: Linear  # (hidden_size, hidden_size)
    ln_2: Norm
    mlp_c_fc: Linear  # (intermediate_size, hidden_size)
    mlp_c_proj: Linear  # (hidden_size, intermediate_size)

    @classmethod
    def read(cls, block: Section, c: Gpt2Config) -> Gpt2Layer:
        """From the tensors of a block."""
        turned = block.checkpoint.layout == Layout.HUGGING_FACE
        width, eps = c.hidden_size, c.layer_norm_epsilon

        def linear(role: str, rows: int, columns: int) -> Linear:
            return block.linear(role, rows, columns, bias=True, transposed=turned)

        q_attn, k_attn, v_attn = block.split(
            "qkv_proj", c.qkv_rows, width, bias=True, transposed=turned
        )
        return cls(
            block.norm("input_layernorm", width, eps, bias=True),
            q_attn,
            k_attn,
            v_attn,
            linear("o_proj", width, c.q_width),
            block.norm("post_attention_layernorm", width, eps, bias=True),
            linear("up_proj", c.intermediate_size, width),
            linear("down_proj", width, c.intermediate_size),
        )


class Gpt2(Decoder):
    """The model: embed, layer by layer, head."""

    names: ClassVar[Mapping[Layout, Names]] = {
        # the first published files have no "transformer."
        Layout.HUGGING_FACE: {
            "block": ("transformer.h.{}.", "h.{}."),
            "embed_tokens": ("transformer.wte", "wte"),
            "embed_positions": ("transformer.wpe", "wpe"),
            "norm": ("transformer.ln_f", "ln_f"),
            "lm_head": "lm_head",
            "input_layernorm": "ln_1",
            "qkv_proj": "attn.c_attn",
            "o_proj": "attn.c_proj",
            "post_attention_layernorm": "ln_2",
            "up_proj": "mlp.c_fc",
            "down_proj": "mlp.c_proj",
        },
        Layout.GGUF: {**NAMES[Layout.GGUF], "embed_positions": "position_embd"},
    }
    keys: ClassVar[Mapping[Layout, Keys]] = {
        Layout.HUGGING_FACE: {
            "hidden_size": ("n_embd",),
            "intermediate_size": ("n_inner",),
            "num_hidden_layers": ("n_layer",),
            "num_attention_heads": ("n_head",),
            "max_position_embeddings": ("n_positions", "n_ctx"),
            "hidden_act": ("activation_function",),
        },
        Layout.GGUF: {
            **KEYS[Layout.GGUF],
            "layer_norm_epsilon": ("attention.layer_norm_epsilon",),
        },
    }
    config: Gpt2Config

    def __init__(self, checkpoint: Checkpoint, options: Options) -> None:
        self.config = c = Gpt2Config.read(checkpoint)
        top = checkpoint.top
        self.wte = top.matrix("embed_tokens", c.vocab_size, c.hidden_size)
        self.wpe = top.matrix("embed_positions", c.max_position_embeddings, c.hidden_size)
        self.layers = [
            Gpt2Layer.read(checkpoint.block(index), c) for index in range(c.num_hidden_layers)
        ]
        self.ln_f = top.norm("norm", c.hidden_size, c.layer_norm_epsilon, bias=True)
        self.lm_head = top.head(self.wte, c.vocab_size, c.hidden_size)
        checkpoint.finish(".attn.bias", ".attn.masked_bias")  # masks, not weights

    def embed(self, ops: Ops[X]) -> X:
        """(T, hidden_size)."""
        return ops.embed(self.wte, self.wpe)

    def layer(self, ops: Ops[X], index: int, x: X) -> X:
        """x + attention, then + MLP: (T, hidden_size)."""
        w = self.layers[index]
        q, k, v = ops.qkv(x, w.ln_1, w.q_attn, w.k_attn, w.v_attn)
        attended = ops.attention(q, k, v, self.config.shape(index), Rotation())
        x = ops.attention_out(x, attended, w.c_proj)
        return ops.mlp(x, w.ln_2, None, w.mlp_c_fc, w.mlp_c_proj, Activation.GELU_TANH)

    def head(self, ops: Ops[X], x: X) -> X:
        """(R, vocab_size)."""
        return ops.logits(x, self.ln_f, self.lm_head)
