"""Owns the list of number formats and finding one by name or GGUF tensor type id."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ingle.errors import UnsupportedError
from ingle.numerics import (
    floats,
    fp8,
    int8_blocks,
    iq4,
    k_types,
    mxfp4,
    nvfp4,
    q4_q5,
    q6_0,
    q8_0,
)
from ingle.numerics.format import Format

_ALL = (
    floats.F32,
    floats.F16,
    floats.BF16,
    q8_0.Q8_0,
    q4_q5.Q4_0,
    q4_q5.Q4_1,
    q4_q5.Q5_0,
    q4_q5.Q5_1,
    q6_0.Q6_0,
    iq4.IQ4_NL,
    iq4.IQ4_XS,
    k_types.Q2_K,
    k_types.Q3_K,
    k_types.Q4_K,
    k_types.Q5_K,
    k_types.Q6_K,
    mxfp4.MXFP4,
    nvfp4.NVFP4,
    fp8.F8_E4M3,
    fp8.F8_E5M2,
    int8_blocks.INT8,
)

FORMATS: Mapping[str, Format] = MappingProxyType({fmt.name: fmt for fmt in _ALL})

_BY_GGML_ID = {fmt.ggml_id: fmt for fmt in _ALL if fmt.ggml_id is not None}

# Types that GGUF defines and ingle does not read.
_UNREAD = {
    9: "Q8_1",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    21: "IQ3_S",
    22: "IQ2_S",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    41: "Q1_0",
    42: "Q2_0",
}
_REMOVED = frozenset({4, 5, 31, 32, 33, 36, 37, 38})


def by_ggml_id(ggml_id: int) -> Format:
    """The format of a GGUF tensor type id; UnsupportedError says what the id is otherwise."""
    fmt = _BY_GGML_ID.get(ggml_id)
    if fmt is not None:
        return fmt
    raise UnsupportedError("tensor type", *_why_not(ggml_id))


def _why_not(ggml_id: int) -> tuple[str, str]:
    rule = "GGUF tensor type must be one that ingle reads, but got"
    if ggml_id in _UNREAD:
        readable = ", ".join(fmt.name for fmt in _BY_GGML_ID.values())
        return f"{rule} {ggml_id} ({_UNREAD[ggml_id]})", f"use a file of these types: {readable}"
    if ggml_id in _REMOVED:
        return (
            f"{rule} {ggml_id} (removed from GGUF)",
            "convert the model again with a current tool",
        )
    return f"{rule} {ggml_id} (unknown)", "the file is damaged or newer than this ingle"
