"""Owns what every architecture here is: embeddings, alike layers, a norm and an output matrix.

It does not know what a layer does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ingle.errors import FileFormatError, IngleError
from ingle.models.checkpoint import Checkpoint
from ingle.models.config import Config
from ingle.models.names import KEYS, Keys, Layout, Names
from ingle.ops import AttentionShape, Ops, X

MAX_LAYERS = 1 << 10
MAX_HIDDEN = 1 << 17
MAX_INTERMEDIATE = 1 << 20
MAX_HEADS = 1 << 12
MAX_HEAD_DIM = 1 << 10
MAX_EXPERTS = 1 << 10  # as many as the native router holds
MAX_CONTEXT = 1 << 24


@dataclass(frozen=True)
class Options:
    """How to load. None: as the file says.

    context_tokens: length of the rotary tables. num_experts_per_tok: experts chosen per token.
    truncate_yarn: round YaRN's range as llama.cpp does (`ingle.models.rope`).
    """

    context_tokens: int
    num_experts_per_tok: int | None = None
    truncate_yarn: bool | None = None


@dataclass(frozen=True)
class DecoderConfig:
    """The sizes that all have, under Hugging Face's names."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int

    @classmethod
    def read_sizes(
        cls, checkpoint: Checkpoint, usual_context_tokens: int | None = None
    ) -> DecoderConfig:
        """FileFormatError names the value that is wrong. The embedding says the vocabulary,
        usual_context_tokens stands in for a context that the file does not state."""
        c = checkpoint.config
        hidden = c.integer("hidden_size", high=MAX_HIDDEN)
        heads = c.integer("num_attention_heads", high=MAX_HEADS)
        kv_heads = c.integer("num_key_value_heads", heads, high=heads)
        if heads % kv_heads:
            raise FileFormatError(
                f"{c.where} num_key_value_heads",
                f"value must divide the {heads} heads of queries, but got {kv_heads}",
            )
        head_dim = c.integer("head_dim", hidden // heads, high=MAX_HEAD_DIM)
        c.require("value_dim", head_dim)
        c.require("rotary_dim", head_dim)
        return DecoderConfig(
            vocab_size=checkpoint.top.length("embed_tokens"),
            hidden_size=hidden,
            num_hidden_layers=c.integer("num_hidden_layers", high=MAX_LAYERS),
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            max_position_embeddings=c.integer(
                "max_position_embeddings", usual_context_tokens, high=MAX_CONTEXT
            ),
        )

    @property
    def q_width(self) -> int:
        """Columns of all heads' queries together."""
        return self.num_attention_heads * self.head_dim

    @property
    def qkv_rows(self) -> tuple[int, int, int]:
        """Outputs of the query, key and value layers."""
        kv_width = self.num_key_value_heads * self.head_dim
        return self.q_width, kv_width, kv_width

    def window(self, layer: int) -> int:
        """Positions a layer sees, itself included; 0 for all."""
        return 0

    def shape(self, layer: int) -> AttentionShape:
        """Attention of one layer."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        return AttentionShape(layer, heads, kv_heads, self.head_dim, self.window(layer))


def chosen_experts(c: Config, options: Options, num_local_experts: int) -> int:
    """num_experts_per_tok: the user's wish, else the file's. IngleError when there are fewer."""
    stated = c.integer("num_experts_per_tok", high=num_local_experts)
    wanted = options.num_experts_per_tok
    if wanted is not None and not 1 <= wanted <= num_local_experts:
        rule = f"value must be from 1 to the model's {num_local_experts}, but got {wanted}"
        raise IngleError("num_experts_per_tok", rule)
    return stated if wanted is None else wanted


class Decoder(ABC):
    """A decoder-only transformer; `names` and `keys` per layout it can be read from."""

    names: ClassVar[Mapping[Layout, Names]]
    keys: ClassVar[Mapping[Layout, Keys]] = KEYS
    has_experts: ClassVar[bool] = False
    config: DecoderConfig

    @abstractmethod
    def __init__(self, checkpoint: Checkpoint, options: Options) -> None:
        """Reads the configuration and makes a handle of every tensor."""

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
        """Tokens of context the model was made for."""
        return self.config.max_position_embeddings

    @property
    def attention_shapes(self) -> Sequence[AttentionShape]:
        """One per layer."""
        return [self.config.shape(index) for index in range(self.num_hidden_layers)]

    @abstractmethod
    def embed(self, ops: Ops[X]) -> X:
        """The batch's tokens as activations: (T, hidden_size)."""

    @abstractmethod
    def layer(self, ops: Ops[X], index: int, x: X) -> X:
        """One block: (T, hidden_size)."""

    @abstractmethod
    def head(self, ops: Ops[X], x: X) -> X:
        """Logits of the rows that the batch wants: (R, vocab_size)."""
