"""Owns what a number format is: its block, its codec, and running a codec over whole tensors.

It does not know any particular format (one file per family does) nor files and tensors' names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Temporaries of a codec are a few times this many weights, however large the tensor.
CHUNK_WEIGHTS = 1 << 19


@dataclass(frozen=True)
class Format:
    """A way to store weights in blocks of a fixed number of bytes.

    name: upper case, as GGUF and safetensors spell it.
    ggml_id: tensor type id in GGUF files; None when GGUF has none.
    block: weights per block; block_bytes: bytes per block.
    decode: uint8 (blocks, block_bytes) -> float32 (blocks, block).
    encode: float32 (blocks, block) -> uint8 (blocks, block_bytes); None when ingle cannot write it.
    keeps_nonfinite: whether encode accepts NaN and infinity.
    """

    name: str
    ggml_id: int | None
    block: int
    block_bytes: int
    decode: Callable[[Bytes], Floats] = field(repr=False)
    encode: Callable[[Floats], Bytes] | None = field(default=None, repr=False)
    keeps_nonfinite: bool = field(default=False, repr=False)

    @property
    def bits_per_weight(self) -> float:
        """Bits of storage per weight, scales included."""
        return 8 * self.block_bytes / self.block

    def row_bytes(self, columns: int) -> int:
        """Bytes of one row of `columns` weights; IngleError unless whole blocks fill it."""
        if columns < 0 or columns % self.block:
            raise IngleError(
                self.name,
                f"row length must be a multiple of {self.block}, but got {columns}",
                "choose a format whose block divides the row",
            )
        return columns // self.block * self.block_bytes

    def columns(self, row_bytes: int) -> int:
        """Weights in a row of `row_bytes` bytes; IngleError unless whole blocks fill it."""
        if row_bytes < 0 or row_bytes % self.block_bytes:
            raise IngleError(
                self.name,
                f"bytes of a row must be a multiple of {self.block_bytes}, but got {row_bytes}",
                "the data is cut short or of another format",
            )
        return row_bytes // self.block_bytes * self.block


def decode(fmt: Format, data: Bytes) -> Floats:
    """Weights of encoded rows: uint8 (..., row_bytes) -> float32 (..., columns).

    Every float operation is float32 in the association of the GGML reference code, so that results
    equal it bit for bit. IngleError when `data` is not uint8 or holds a part of a block.
    """
    if data.dtype != np.uint8 or data.ndim == 0:
        got = f"{data.dtype} {data.shape}"
        raise IngleError(fmt.name, f"encoded data must be a uint8 array of rows, but got {got}")
    out = np.empty((*data.shape[:-1], fmt.columns(data.shape[-1])), np.float32)
    blocks = data.reshape(-1, fmt.block_bytes)
    weights = out.reshape(-1, fmt.block)
    with np.errstate(all="ignore"):
        for rows in block_chunks(len(blocks), fmt.block):
            weights[rows] = fmt.decode(blocks[rows])
    return out


def encode(fmt: Format, x: NDArray[np.floating[Any]]) -> Bytes:
    """Encoded rows of weights: float32 (..., columns) -> uint8 (..., row_bytes).

    IngleError when the format is read-only, blocks do not fill a row, or a weight is not finite.
    """
    if fmt.encode is None:
        raise IngleError(fmt.name, "format must be writable, but got one that is only read")
    if not np.issubdtype(x.dtype, np.floating) or x.ndim == 0:
        raise IngleError(fmt.name, f"weights must be rows of floats, but got {x.dtype} {x.shape}")
    out = np.empty((*x.shape[:-1], fmt.row_bytes(x.shape[-1])), np.uint8)
    weights = x.reshape(-1, fmt.block)
    blocks = out.reshape(-1, fmt.block_bytes)
    with np.errstate(all="ignore"):
        for rows in block_chunks(len(weights), fmt.block):
            chunk = weights[rows].astype(np.float32)
            if not fmt.keeps_nonfinite:
                require_finite(fmt.name, chunk)
            blocks[rows] = fmt.encode(chunk)
    return out


def block_chunks(num_blocks: int, block: int) -> list[slice]:
    """Slices that cut `num_blocks` blocks of `block` weights into CHUNK_WEIGHTS at a time."""
    step = max(1, CHUNK_WEIGHTS // block)
    return [slice(start, start + step) for start in range(0, num_blocks, step)]


def require_finite(name: str, x: Floats) -> None:
    """IngleError naming the format when a weight is NaN or infinite."""
    finite = np.isfinite(x)
    if not finite.all():
        raise IngleError(
            name,
            f"weights to encode must be finite float32 numbers, but got {x[~finite][0]}",
            "the source tensor is damaged or overflows float32",
        )
