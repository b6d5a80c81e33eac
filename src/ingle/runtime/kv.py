"""Owns the memory of keys and values: pages of 64 positions, for a number of sequences.

Layers with full attention take one page per 64 positions; layers with a sliding window as many as
the window and the chunk being written need. How many that is, `ingle.plan` says. It does not know
tokens, or who holds which page (`pages` does).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.ops import PAGE_TOKENS, USUAL_KV_TYPE, KvArray, KvLayout, kv_dtype
from ingle.ops.shape import KvGroup
from ingle.plan.kv import group_pages, token_values

_ALIGNMENT = 64  # bytes: a cache line


class KvPool:
    """Pages for `sequences` of up to `context_tokens` each, and `spare_bytes` more of them.

    kv_type: what they are kept as. Memory is taken from the system as it is used. shares: pages per
    group that one sequence can need; pages: of all. Raises IngleError for a type that is none.
    """

    def __init__(
        self,
        layout: KvLayout,
        context_tokens: int,
        chunk_tokens: int,
        sequences: int = 1,
        spare_bytes: int = 0,
        kv_type: str = USUAL_KV_TYPE,
    ) -> None:
        self.kv_type, self.dtype = kv_type, kv_dtype(kv_type)
        self.layout = layout
        self.context_tokens = context_tokens
        self.chunk_tokens = chunk_tokens
        self.shares = [
            group_pages(group.window, context_tokens, chunk_tokens) for group in layout.groups
        ]
        spare = _spare_pages(layout, spare_bytes, self.dtype.itemsize)
        self.pages = [
            sequences * share + more for share, more in zip(self.shares, spare, strict=True)
        ]
        self.keys: list[KvArray] = []
        self.values: list[KvArray] = []
        for group, pages in zip(layout.groups, self.pages, strict=True):
            shape = (len(group.layers), pages, group.num_key_value_heads)
            self.keys.append(_zeros((*shape, group.head_dim, PAGE_TOKENS), self.dtype))
            self.values.append(_zeros((*shape, PAGE_TOKENS, group.head_dim), self.dtype))

    @property
    def nbytes(self) -> int:
        """Bytes of address space that keys and values take."""
        return sum(array.nbytes for array in (*self.keys, *self.values))


class KvSequence:
    """A fixed share of a pool that nobody else manages: its sequence number `place`, from 0."""

    def __init__(self, pool: KvPool, place: int = 0) -> None:
        total = np.arange(-(-pool.context_tokens // PAGE_TOKENS), dtype=np.int32)
        # A ring reuses its pages: position page p lies in page p modulo the ring's length.
        self._tables = [total % share + place * share for share in pool.shares]

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


def page_bytes(group: KvGroup, value_bytes: int) -> int:
    """Bytes of one page in all layers of a group."""
    return PAGE_TOKENS * len(group.layers) * token_values(group) * value_bytes


def _spare_pages(layout: KvLayout, spare_bytes: int, value_bytes: int) -> list[int]:
    """Pages per group that `spare_bytes` buy.

    Full attention needs them all along a prefix, windows a few where a prefix may be resumed: they
    get a third of the bytes.
    """
    sizes = [(group.window, page_bytes(group, value_bytes)) for group in layout.groups]
    windows = sum(size for window, size in sizes if window)
    everywhere = sum(size for window, size in sizes if not window)
    share = 3 if windows and everywhere else 1
    for_windows = spare_bytes // share
    return [
        for_windows // windows
        if group.window
        else (spare_bytes - (for_windows if windows else 0)) // everywhere
        for group in layout.groups
    ]


def _zeros(shape: Sequence[int], dtype: np.dtype[Any]) -> KvArray:
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + _ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % _ALIGNMENT
    return raw[offset : offset + size].view(dtype).reshape(shape)
