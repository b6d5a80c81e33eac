"""Owns the facts a model tells a backend: attention shapes, rotary tables, where KV pages lie.

It knows no weights' values and no activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

PAGE_TOKENS = 64  # positions in a KV page, and in one fold of attention


@dataclass(frozen=True)
class WeightMeta:
    """What an opaque weight handle is: its number format, shape (rows, columns) and bytes."""

    name: str
    format: str
    shape: tuple[int, ...]
    nbytes: int


class Weight(Protocol):
    """A tensor as its backend holds it."""

    @property
    def meta(self) -> WeightMeta:
        """Name, format, shape and bytes."""


@dataclass(frozen=True)
class AttentionShape:
    """Grouped-query attention of one layer; window 0 means every earlier token is visible."""

    layer: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    window: int = 0

    @property
    def scale(self) -> float:
        """Factor of a score: 1 / sqrt(head_dim)."""
        return float(np.float32(1.0 / np.sqrt(self.head_dim)))


@dataclass(frozen=True)
class RopeTable:
    """Rotary position embedding (Su et al. 2021).

    inverse_frequencies: float32 (head_dim / 2,). magnitude multiplies cos and sin (YaRN).
    interleaved: pairs are (2i, 2i + 1), as GGUF stores Llama; else (i, i + head_dim / 2).
    positions: rows of the tables.
    """

    inverse_frequencies: NDArray[np.float32]
    positions: int
    magnitude: float = 1.0
    interleaved: bool = False

    @cached_property
    def _angles(self) -> NDArray[np.float64]:
        # The published models multiply position and frequency in float32; so must we.
        position = np.arange(self.positions, dtype=np.float32)
        return (position[:, None] * self.inverse_frequencies[None, :]).astype(np.float64)

    @cached_property
    def cos(self) -> NDArray[np.float32]:
        """float32 (positions, head_dim / 2)."""
        return (np.cos(self._angles) * self.magnitude).astype(np.float32)

    @cached_property
    def sin(self) -> NDArray[np.float32]:
        """float32 (positions, head_dim / 2)."""
        return (np.sin(self._angles) * self.magnitude).astype(np.float32)


@dataclass(frozen=True)
class KvGroup:
    """Layers whose keys and values lie in the same pages because they see the same positions."""

    window: int
    num_key_value_heads: int
    head_dim: int
    layers: tuple[int, ...]


class KvLayout:
    """Which group, and which place in it, holds the keys and values of each layer."""

    def __init__(self, shapes: Sequence[AttentionShape]) -> None:
        members: dict[tuple[int, int, int], list[int]] = {}
        for shape in shapes:
            key = (shape.window, shape.num_key_value_heads, shape.head_dim)
            members.setdefault(key, []).append(shape.layer)
        self.groups = tuple(KvGroup(*key, tuple(layers)) for key, layers in members.items())
        self.place = {
            layer: (number, index)
            for number, group in enumerate(self.groups)
            for index, layer in enumerate(group.layers)
        }
