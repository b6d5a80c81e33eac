"""Owns experts of gpt-oss in floats on their way between GGUF (expert, out, in) and Hugging Face
(expert, in, out), where gate and up take turns. One expert at a time is rearranged.

It does not know names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ingle.formats.convert.lazy import LazyTensor, item_bytes, require, require_dims
from ingle.formats.mapping import Bytes


def as_columns(halves: Sequence[LazyTensor]) -> LazyTensor:
    """(E, in, out) of one or two (E, rows, in), whose rows take turns as columns."""
    first = halves[0]
    item, (experts, num_rows, columns) = item_bytes(first), require_dims(first, 3).shape
    for half in halves:
        require(half, first.shape, first.format)
    width = num_rows * len(halves)

    def rows(a: int, b: int) -> Bytes:
        cells = [half.rows(a, b).reshape(b - a, num_rows, columns, item) for half in halves]
        turned = np.stack(cells, axis=2).transpose(0, 3, 1, 2, 4)
        return np.ascontiguousarray(turned).reshape(b - a, columns, width * item)

    return replace(first, shape=(experts, columns, width), rows=rows)


def as_rows(tensor: LazyTensor, first: int = 0, step: int = 1) -> LazyTensor:
    """(E, rows, in) of columns first, first + step, ... of (E, in, out)."""
    item, (experts, columns, width) = item_bytes(tensor), require_dims(tensor, 3).shape
    require(tensor, (experts, columns, width - width % step))
    kept = width // step
    whole = columns * width * item  # is read for one expert of the result

    def rows(a: int, b: int) -> Bytes:
        cells = tensor.rows(a, b).reshape(b - a, columns, width, item)[:, :, first::step]
        turned = np.ascontiguousarray(cells.transpose(0, 2, 1, 3))
        return turned.reshape(b - a, kept, columns * item)

    return replace(tensor, shape=(experts, kept, columns), rows=rows, touched_bytes=whole)
