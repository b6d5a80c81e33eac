"""Owns how many bytes keys and values take: pages for full attention, rings for sliding windows.

The runtime allocates by these functions. It does not know which memory that is.
"""

from __future__ import annotations

from ingle.ops import PAGE_TOKENS
from ingle.ops.shape import KvGroup

CHUNK_TOKENS = 512  # of a prompt that run at once: a ring must hold them and the window


def group_pages(window: int, context_tokens: int, chunk_tokens: int = CHUNK_TOKENS) -> int:
    """Pages that one sequence needs in a group: all positions, or a ring for a window."""
    everything = -(-context_tokens // PAGE_TOKENS)
    if not window:
        return everything
    return min(everything, -(-(window + chunk_tokens) // PAGE_TOKENS) + 1)


def group_bytes(
    group: KvGroup, context_tokens: int, value_bytes: int, chunk_tokens: int = CHUNK_TOKENS
) -> int:
    """Bytes of one sequence's keys and values in all layers of a group."""
    pages = group_pages(group.window, context_tokens, chunk_tokens)
    return pages * PAGE_TOKENS * len(group.layers) * token_values(group) * value_bytes


def token_values(group: KvGroup) -> int:
    """Numbers that a token leaves in one layer: a key and a value per head."""
    return 2 * group.num_key_value_heads * group.head_dim
