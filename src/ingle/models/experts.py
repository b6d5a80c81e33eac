"""Owns stacks of experts, (num_local_experts, rows, row_bytes), from every way files store them.

A stack that lies ready in the file is passed as a view; others are rearranged expert by expert, and
MXFP4 stays MXFP4 with every code and exponent as it was. It does not know routers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats.mapping import quoted
from ingle.models.checkpoint import Bytes, Section, Tensor
from ingle.numerics.mxfp4 import interleaved_to_gguf, openai_to_gguf
from ingle.ops import Experts

Shape = tuple[int, int, int]  # experts, rows, columns

EVERY_ROW = slice(None)
EVEN_ROWS, ODD_ROWS = slice(0, None, 2), slice(1, None, 2)


def stacked(section: Section, role: str, shape: Shape, rows: slice = EVERY_ROW) -> Tensor:
    """A tensor (experts, rows, columns), or some rows of each expert of a larger one."""
    experts, count, columns = shape
    tensor = section.stored(role, (experts, _stored_rows(count, rows), columns))
    if tensor.format == "MXFP4_OLLAMA":
        data = _filled(experts, lambda e: interleaved_to_gguf(tensor.data[e, rows]))
        return tensor.with_data(data, format="MXFP4")
    if rows == EVERY_ROW:
        return tensor
    return tensor.with_data(_filled(experts, lambda e: tensor.data[e, rows]))


def from_blocks(
    section: Section, blocks: str, scales: str, shape: Shape, rows: slice = EVERY_ROW
) -> Tensor:
    """OpenAI's MXFP4 repacked into GGUF's blocks: codes U8 (experts, rows, groups, 16), exponents
    U8 (experts, rows, groups)."""
    experts, count, columns = shape
    if columns % 32:
        where = section.checkpoint.container.path.name
        rule = f"rows of MXFP4 must be whole blocks of 32, but got {columns} columns"
        raise FileFormatError(where, rule)
    groups = (experts, _stored_rows(count, rows), columns // 32)
    codes, exponents = section.stored(blocks, (*groups, 16)), section.stored(scales, groups)
    for tensor in (codes, exponents):
        if tensor.format != "U8":
            rule = f"tensor {tensor.name} must be U8, but got {tensor.format}"
            raise FileFormatError(tensor.where, rule)
    data = _filled(experts, lambda e: openai_to_gguf(codes.data[e, rows], exponents.data[e, rows]))
    return codes.with_data(data, name=codes.name.removesuffix("_blocks"), format="MXFP4")


def from_columns(section: Section, role: str, shape: Shape, rows: slice = EVERY_ROW) -> Tensor:
    """Plain floats (experts, columns, rows), as transformers keeps gpt-oss dequantized."""
    experts, count, columns = shape
    tensor = section.stored(role, (experts, columns, _stored_rows(count, rows)))
    cells = tensor.cells
    data = _filled(experts, lambda e: np.ascontiguousarray(cells[e][:, rows].T).view(np.uint8))
    return tensor.with_data(data)


def from_each(section: Section, role: str, shape: Shape) -> Tensor:
    """A matrix (rows, columns) per expert under a name of its own. UnsupportedError where what
    enters one is to be rounded."""
    experts, count, columns = shape
    each = [section.expert(e).stored(role, (count, columns)) for e in range(experts)]
    first = each[0]
    for tensor in each:
        if section.checkpoint.rounding(tensor) is not None:
            rule = f"inputs of experts must stay as they are, but {quoted(tensor.name)} rounds them"
            raise UnsupportedError(tensor.where, rule, "ignore experts, or round weights alone")
        if tensor.format != first.format:
            rule = f"tensor {tensor.name} must be {first.format}, but got {tensor.format}"
            raise FileFormatError(tensor.where, rule)
    return first.with_data(_filled(experts, lambda e: each[e].data))


def make_experts(
    section: Section, tensor: Tensor, bias: tuple[str, NDArray[np.float32]] | None = None
) -> Experts:
    """Handles of a stack and of its biases (experts, rows)."""
    backend = section.checkpoint.backend
    weight = section.checkpoint.matrix(tensor)
    if bias is None:
        return Experts(weight)
    name, values = bias
    rows = values if values.strides[-1] == values.itemsize else np.ascontiguousarray(values)
    return Experts(weight, backend.vector(name, rows))


def _stored_rows(count: int, rows: slice) -> int:
    return count * (rows.step or 1)


def _filled(experts: int, expert: Callable[[int], Bytes]) -> Bytes:
    """One array of all experts, made one at a time; of rows that stand for any, as plans have
    them, nothing is made."""
    first = expert(0)
    if first.ndim > 1 and not any(first.strides[:-1]):
        return np.broadcast_to(first, (experts, *first.shape))
    out = np.empty((experts, *first.shape), np.uint8)
    out[0] = first
    for index in range(1, experts):
        out[index] = expert(index)
    return out
