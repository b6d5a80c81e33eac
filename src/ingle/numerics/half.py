"""Owns the float16 fields inside blocks. It does not know what they scale."""

from __future__ import annotations

import numpy as np

from ingle.errors import IngleError
from ingle.numerics.format import Bytes, Floats


def read_half(blocks: Bytes, offset: int) -> Floats:
    """The little-endian float16 at byte `offset` of every block: float32 (blocks, 1)."""
    return np.ascontiguousarray(blocks[:, offset : offset + 2]).view("<f2").astype(np.float32)


def half_bytes(name: str, values: Floats) -> Bytes:
    """Float16 bytes (blocks, 2) of float32 (blocks, 1), rounded to nearest even.

    IngleError naming the format when a value exceeds float16: the block would decode to infinity.
    """
    halves = values.astype("<f2")
    if not np.isfinite(halves).all():
        worst = float(np.abs(values).max())
        raise IngleError(
            name,
            f"block scale must fit float16 (at most 65504), but got {worst:.6g}",
            "store this tensor as BF16 or F32",
        )
    return halves.view(np.uint8)
