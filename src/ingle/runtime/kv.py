"""Owns the memory of keys and values: pages of 64 positions, and one sequence's table of them.

Layers with full attention take one page per 64 positions; layers with a sliding window keep a ring
just long enough for the window and the chunk being written. How many pages that is, `ingle.plan`
says. It does not know tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.ops import PAGE_TOKENS, KvLayout
from ingle.plan.kv import group_pages

_ALIGNMENT = 64  # bytes: a cache line


class KvPool:
    """Pages for one sequence of up to `context_tokens`; memory is taken from the system as used."""

    def __init__(self, layout: KvLayout, context_tokens: int, chunk_tokens: int) -> None:
        self.layout = layout
        self.context_tokens = context_tokens
        self.pages = [
            group_pages(group.window, context_tokens, chunk_tokens) for group in layout.groups
        ]
        self.keys: list[NDArray[np.float32]] = []
        self.values: list[NDArray[np.float32]] = []
        for group, pages in zip(layout.groups, self.pages, strict=True):
            shape = (len(group.layers), pages, group.num_key_value_heads)
            self.keys.append(_zeros((*shape, group.head_dim, PAGE_TOKENS)))
            self.values.append(_zeros((*shape, PAGE_TOKENS, group.head_dim)))

    @property
    def nbytes(self) -> int:
        """Bytes of address space that keys and values take."""
        return sum(array.nbytes for array in (*self.keys, *self.values))


class KvSequence:
    """The page tables of the pool's sequence."""

    def __init__(self, pool: KvPool) -> None:
        total = -(-pool.context_tokens // PAGE_TOKENS)
        # A ring reuses its pages: position page p lies in page p modulo the ring's length.
        self._tables = [np.arange(total, dtype=np.int32) % pages for pages in pool.pages]

    def page_table(self, group: int) -> NDArray[np.int32]:
        """Page of positions [64 p, 64 p + 64) at index p."""
        return self._tables[group]


def check_context(context_tokens: int, limit: int) -> None:
    """IngleError unless 1 <= context_tokens <= limit."""
    if not 1 <= context_tokens <= limit:
        raise IngleError(
            "context",
            f"context must be from 1 to the model's {limit} tokens, but got {context_tokens}",
            f"choose --context {limit} or less",
        )


def _zeros(shape: Sequence[int]) -> NDArray[np.float32]:
    size = int(np.prod(shape)) * 4
    raw = np.zeros(size + _ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % _ALIGNMENT
    return raw[offset : offset + size].view(np.float32).reshape(shape)
