"""Owns models that ingle does not run, known by their sizes alone: Gemma 2 and 3, DeepSeek-V3.

Parameters and caches follow from the published configurations. It does not know files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, 2024): the cache holds `kv_rank + rope_dim`."""

    q_rank: int
    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int


@dataclass(frozen=True)
class Sketch:
    """Hugging Face's names. window, full_every: of every `full_every` layers one sees all, the
    others the last `window` positions. dense_layers: the first ones, without experts."""

    name: str
    title: str
    licence: str
    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    norms: str
    norms_per_layer: int
    activation: str
    tied: bool
    window: int = 0
    full_every: int = 1
    num_local_experts: int = 0
    num_experts_per_tok: int = 0
    shared_experts: int = 0
    moe_intermediate_size: int = 0
    dense_layers: int = 0
    latent: LatentAttention | None = None

    @property
    def parameters(self) -> int:
        """All weights; norms of single heads and ranks, some thousands, are left out."""
        experts = self.num_local_experts + self.shared_experts
        return self._layers(experts) + (1 if self.tied else 2) * self._table

    @property
    def active_parameters(self) -> int:
        """Those a token passes through: all but experts not chosen and the table of embeddings."""
        return self._layers(self.num_experts_per_tok + self.shared_experts) + self._table

    @property
    def matrix_flops(self) -> int:
        """Of one token: 2 for each weight of a matrix."""
        norms = self.num_hidden_layers * self.norms_per_layer * self.hidden_size + self.hidden_size
        return 2 * (self.active_parameters - norms)

    def kv_values(self, context_tokens: int) -> int:
        """Numbers in one sequence's cache."""
        token = 2 * self.num_key_value_heads * self.head_dim
        if self.latent is not None:
            token = self.latent.kv_rank + self.latent.rope_dim
        full = self.num_hidden_layers // self.full_every if self.window else self.num_hidden_layers
        seen = min(context_tokens, self.window)
        return token * (full * context_tokens + (self.num_hidden_layers - full) * seen)

    @property
    def _table(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def _attention(self) -> int:
        hidden, heads = self.hidden_size, self.num_attention_heads
        latent = self.latent
        if latent is None:
            return 2 * hidden * self.head_dim * (heads + self.num_key_value_heads)
        query = latent.nope_dim + latent.rope_dim
        return (
            hidden * latent.q_rank
            + latent.q_rank * heads * query
            + hidden * (latent.kv_rank + latent.rope_dim)
            + latent.kv_rank * heads * (latent.nope_dim + latent.value_dim)
            + heads * latent.value_dim * hidden
        )

    def _layers(self, experts: int) -> int:
        hidden = self.hidden_size
        every = self._attention + self.norms_per_layer * hidden
        sparse = self.num_hidden_layers - self.dense_layers if self.num_local_experts else 0
        dense = self.num_hidden_layers - sparse
        router = hidden * self.num_local_experts
        each = 3 * hidden * self.moe_intermediate_size
        return (
            self.num_hidden_layers * every
            + dense * 3 * hidden * self.intermediate_size
            + sparse * (router + experts * each)
            + hidden
        )


_GEMMA = "Gemma Terms of Use"
_SANDWICH = "RMSNorm before and after"
_ALL = (
    Sketch(
        "gemma2:9b", "Gemma 2 9B", _GEMMA, 42, 3584, 14336, 16, 8, 256, 256_000, 8192,
        _SANDWICH, 4, "GeGLU", True, window=4096, full_every=2,
    ),
    Sketch(
        "gemma2:27b", "Gemma 2 27B", _GEMMA, 46, 4608, 36864, 32, 16, 128, 256_000, 8192,
        _SANDWICH, 4, "GeGLU", True, window=4096, full_every=2,
    ),
    Sketch(
        "gemma3:12b", "Gemma 3 12B", _GEMMA, 48, 3840, 15360, 16, 8, 256, 262_208, 131_072,
        _SANDWICH + ", of q and k", 4, "GeGLU", True, window=1024, full_every=6,
    ),
    Sketch(
        "gemma3:27b", "Gemma 3 27B", _GEMMA, 62, 5376, 21504, 32, 16, 128, 262_208, 131_072,
        _SANDWICH + ", of q and k", 4, "GeGLU", True, window=1024, full_every=6,
    ),
    Sketch(
        "deepseek-v3", "DeepSeek-V3", "DeepSeek Model License", 61, 7168, 18432, 128, 128, 128,
        129_280, 163_840, "RMSNorm before", 2, "SwiGLU", False, num_local_experts=256,
        num_experts_per_tok=8, shared_experts=1, moe_intermediate_size=2048, dense_layers=3,
        latent=LatentAttention(1536, 512, 64, 128, 128),
    ),
)  # fmt: skip
SKETCHES: Mapping[str, Sketch] = {sketch.name: sketch for sketch in _ALL}
