"""Owns tensors that are computed while they are written: slices, joins and repacks of others.

A `LazyTensor` gives its bytes by ranges of the outermost axis, so a conversion never holds more
than a few MiB. It does not know names nor layouts of models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats.container import Container
from ingle.formats.mapping import Bytes, quoted
from ingle.numerics import FORMATS, decode
from ingle.numerics.mxfp4 import gguf_to_openai, openai_to_gguf

PIECE_BYTES = 8 << 20
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "U8": 1}


@dataclass(frozen=True)
class LazyTensor:
    """rows(start, stop): uint8 (stop - start, *shape[1:-1], row_bytes) of the outermost axis.

    A vector counts as one column: its rows are (stop - start, bytes of an element).
    touched_bytes: what is read for one outermost row, where that is more than the row itself.
    """

    name: str
    format: str
    shape: tuple[int, ...]
    rows: Callable[[int, int], Bytes]
    touched_bytes: int = 1

    def pieces(self) -> Iterator[Bytes]:
        """All bytes in order, in pieces of about 8 MiB (at least one outermost row each)."""
        length = self.shape[0]
        if length == 0:
            return
        step = max(1, PIECE_BYTES // max(self.touched_bytes, self.rows(0, 1).size))
        for start in range(0, length, step):
            yield self.rows(start, min(start + step, length))


def stored(container: Container, name: str) -> LazyTensor:
    """A tensor as it lies in a container. FileFormatError when it is missing."""
    info = container.tensors.get(name)
    if info is None:
        raise FileFormatError(
            str(container.path), f"tensor {quoted(name)} must exist, but got a model without it"
        )
    shape = info.shape or (1,)
    if len(shape) > 1:
        return LazyTensor(name, info.format, shape, lambda a, b: container.read(name)[a:b])
    item = info.row_bytes // max(1, shape[0])
    if item * shape[0] != info.row_bytes:
        raise UnsupportedError(
            f"{container.path}: tensor {quoted(name)}",
            f"a vector must be stored in whole numbers, but got {info.format}",
        )
    return LazyTensor(
        name, info.format, shape, lambda a, b: container.read(name).reshape(-1, item)[a:b]
    )


def require(tensor: LazyTensor, shape: tuple[int, ...], *formats: str) -> LazyTensor:
    """The same tensor, or FileFormatError when it has another shape or format."""
    if tensor.shape != shape or (formats and tensor.format not in formats):
        raise FileFormatError(
            f"tensor {quoted(tensor.name)}",
            f"tensor must be {' or '.join(formats) or 'of shape'} {shape}, "
            f"but got {tensor.format} {tensor.shape}",
        )
    return tensor


def require_dims(tensor: LazyTensor, num_dims: int) -> LazyTensor:
    """The same tensor, or FileFormatError when it has another number of dimensions or is empty."""
    if len(tensor.shape) != num_dims or 0 in tensor.shape:
        raise FileFormatError(
            f"tensor {quoted(tensor.name)}",
            f"tensor must have {num_dims} dimensions of at least 1, but got {tensor.shape}",
        )
    return tensor


def item_bytes(tensor: LazyTensor) -> int:
    """Bytes of one element; UnsupportedError when the format packs several together."""
    item = ITEM_BYTES.get(tensor.format)
    if item is None:
        raise UnsupportedError(
            f"tensor {quoted(tensor.name)}",
            f"rearranging needs one of {', '.join(ITEM_BYTES)}, but got {tensor.format}",
        )
    return item


def sliced(tensor: LazyTensor, start: int, stop: int) -> LazyTensor:
    """Rows [start, stop) of the outermost axis."""
    shape = (stop - start, *tensor.shape[1:])
    return replace(tensor, shape=shape, rows=lambda a, b: tensor.rows(start + a, start + b))


def joined(tensors: Sequence[LazyTensor]) -> LazyTensor:
    """Tensors one after another along the outermost axis."""
    first = tensors[0]
    for other in tensors:
        require(other, (other.shape[0], *first.shape[1:]), first.format)
    starts = np.cumsum([0, *(tensor.shape[0] for tensor in tensors)]).tolist()

    def rows(a: int, b: int) -> Bytes:
        parts = [
            tensor.rows(max(a - start, 0), min(b - start, tensor.shape[0]))
            for tensor, start in zip(tensors, starts[:-1], strict=True)
            if a < start + tensor.shape[0] and b > start
        ]
        return np.concatenate(parts)

    return replace(first, shape=(starts[-1], *first.shape[1:]), rows=rows)


def stacked(tensors: Sequence[LazyTensor]) -> LazyTensor:
    """Tensors of one shape under a new outermost axis."""
    first = tensors[0]
    for other in tensors:
        require(other, first.shape, first.format)

    def rows(a: int, b: int) -> Bytes:
        return np.stack([tensor.rows(0, tensor.shape[0]) for tensor in tensors[a:b]])

    return replace(first, shape=(len(tensors), *first.shape), rows=rows)


def transposed(tensor: LazyTensor) -> LazyTensor:
    """A matrix (in, out) as (out, in)."""
    item, (inner, outer) = item_bytes(tensor), require_dims(tensor, 2).shape

    def rows(a: int, b: int) -> Bytes:
        cells = tensor.rows(0, inner).reshape(inner, outer, item)[:, a:b]
        return np.ascontiguousarray(cells.transpose(1, 0, 2)).reshape(b - a, inner * item)

    return replace(tensor, shape=(outer, inner), rows=rows)


def gathered(tensor: LazyTensor, order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> LazyTensor:
    """Row i is row order[i] of the tensor."""
    length = tensor.shape[0]
    return replace(tensor, rows=lambda a, b: tensor.rows(0, length)[order[a:b]])


def interleaved_columns(even: LazyTensor, odd: LazyTensor) -> LazyTensor:
    """Two (rows, n) as (rows, 2n), taking turns."""
    require(odd, even.shape, even.format)
    item, (length, columns) = item_bytes(even), require_dims(even, 2).shape

    def rows(a: int, b: int) -> Bytes:
        pair = [tensor.rows(a, b).reshape(b - a, columns, item) for tensor in (even, odd)]
        return np.stack(pair, axis=2).reshape(b - a, 2 * columns * item)

    return replace(even, shape=(length, 2 * columns), rows=rows)


def every_other_column(tensor: LazyTensor, first: int) -> LazyTensor:
    """Columns first, first + 2, ... of (rows, 2n)."""
    item, (length, columns) = item_bytes(tensor), require_dims(tensor, 2).shape
    kept = len(range(first, columns, 2))

    def rows(a: int, b: int) -> Bytes:
        cells = tensor.rows(a, b).reshape(b - a, columns, item)[:, first::2]
        return np.ascontiguousarray(cells).reshape(b - a, kept * item)

    return replace(tensor, shape=(length, kept), rows=rows)


def as_f32(tensor: LazyTensor) -> LazyTensor:
    """The same values in float32. UnsupportedError for formats it would round."""
    if tensor.format == "F32":
        return tensor
    if tensor.format not in ("BF16", "F16", "Q8_0"):
        raise UnsupportedError(
            f"tensor {quoted(tensor.name)}",
            f"only BF16, F16 and Q8_0 become F32 without loss, but got {tensor.format}",
            "convert from a file of higher precision",
        )
    fmt = FORMATS[tensor.format]
    return replace(
        tensor, format="F32", rows=lambda a, b: decode(fmt, tensor.rows(a, b)).view(np.uint8)
    )


def narrowed(tensor: LazyTensor) -> LazyTensor:
    """A float32 tensor as BF16 when every value is one, else the tensor itself; reads it all."""
    if tensor.format != "F32":
        return tensor
    for piece in tensor.pieces():
        if piece.view("<u2").reshape(-1, 2)[:, 0].any():
            return tensor

    def rows(a: int, b: int) -> Bytes:
        words = tensor.rows(a, b).view("<u2")
        return np.ascontiguousarray(words[..., 1::2]).view(np.uint8)

    return replace(tensor, format="BF16", rows=rows)


def openai_blocks(halves: Sequence[LazyTensor]) -> tuple[LazyTensor, LazyTensor]:
    """OpenAI's blocks (E, R, G, 16) and scales (E, R, G) of GGUF MXFP4 tensors (E, R', C).

    Rows of two halves (gate, up) take turns; one half is taken as it is.
    """
    first = halves[0]
    for half in halves:
        require(half, first.shape, "MXFP4")
    experts, rows_each, columns = require_dims(first, 3).shape
    shape = (experts, rows_each * len(halves), columns // 32)

    touched = shape[1] * shape[2] * 17

    def blocks(a: int, b: int) -> Bytes:
        parts = [gguf_to_openai(half.rows(a, b))[0] for half in halves]
        return np.stack(parts, axis=2).reshape(b - a, *shape[1:], 16)

    def scales(a: int, b: int) -> Bytes:
        parts = [half.rows(a, b).reshape(b - a, rows_each, shape[2], 17)[..., 0] for half in halves]
        return np.stack(parts, axis=2).reshape(b - a, *shape[1:])

    return (
        LazyTensor(first.name, "U8", (*shape, 16), blocks, touched),
        LazyTensor(first.name, "U8", shape, scales, touched),
    )


def gguf_blocks(
    blocks: LazyTensor, scales: LazyTensor, first: int = 0, step: int = 1
) -> LazyTensor:
    """GGUF MXFP4 (E, R', C) of OpenAI's blocks and scales: rows first, first + step, ..."""
    experts, num_rows, groups = require_dims(scales, 3).shape
    require(scales, (experts, num_rows - num_rows % step, groups), "U8")
    require(blocks, (experts, num_rows, groups, 16), "U8")

    def rows(a: int, b: int) -> Bytes:
        return openai_to_gguf(blocks.rows(a, b)[:, first::step], scales.rows(a, b)[:, first::step])

    shape = (experts, len(range(first, num_rows, step)), groups * 32)
    return LazyTensor(blocks.name, "MXFP4", shape, rows)
