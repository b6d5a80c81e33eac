"""Owns encoding weights into blocks by the native encoders: GGML's own bytes, or a better search.

It does not know files and models, nor why a format was chosen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingle import _native
from ingle.errors import IngleError
from ingle.numerics import FORMATS

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

ENCODABLE = (
    *("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "IQ4_XS", "MXFP4"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
)
_FAULTS = {
    1: ("weights to encode must be finite float32 numbers, but got others", "check the source"),
    2: ("scales of blocks must fit float16, but got larger ones", "store this tensor as BF16"),
}


def encode_rows(
    format_name: str,
    weights: Floats,
    importance: Floats | None = None,
    *,
    search: bool = False,
    threads: int = 1,
    where: str = "",
) -> Bytes:
    """Rows (rows, row_bytes) of weights (rows, columns).

    importance: positive, per column; as llama.cpp uses it. search: least squares over what the
    format can store instead of GGML's choice, weighted by importance or, without one, by sqrt(mean
    square of the row + weight^2); without search the bytes are GGML's. Raises IngleError
    at `where` for weights that are not finite or too large, and for rows that are not whole blocks.
    """
    if format_name not in ENCODABLE:
        rule = f"format must be one of {', '.join(ENCODABLE)}, but got {format_name}"
        raise IngleError(where or format_name, rule)
    FORMATS[format_name].row_bytes(weights.shape[-1])
    rows = np.ascontiguousarray(weights, np.float32)
    if importance is not None:
        importance = np.ascontiguousarray(importance, np.float32)
    encoded, fault = _native.encode_rows(format_name, rows, importance, search, threads)
    raise_fault(fault, where or format_name)
    result: Bytes = encoded
    return result


def raise_fault(fault: int, where: str) -> None:
    """IngleError at `where` for what a native encoder met; nothing for 0."""
    if fault:
        raise IngleError(where, *_FAULTS[fault])


def decode_rows(format_name: str, rows: Bytes) -> Floats:
    """Weights (rows, columns) of encoded rows (rows, row_bytes), natively."""
    columns = FORMATS[format_name].columns(rows.shape[-1])
    decoded: Floats = _native.decode(format_name, np.ascontiguousarray(rows), columns)
    return decoded
