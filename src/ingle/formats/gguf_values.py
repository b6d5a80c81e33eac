"""Owns encoding metadata as GGUF bytes, and the choice of a value type for a Python value.

It does not know which keys a model needs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingle.errors import IngleError
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_header import ARRAY, BOOL, SCALARS, STRING
from ingle.formats.gguf_strings import StringArray
from ingle.formats.mapping import quoted

U32, I32, F32, U64, I64 = 4, 5, 6, 10, 11


@dataclass(frozen=True, slots=True)
class Typed:
    """A scalar with an explicit GGUF value type id (u16 is 2, u64 is 10 ...)."""

    value: int | float | bool
    type_id: int


def typed_metadata(file: GgufFile) -> dict[str, Any]:
    """A file's metadata with the value types it had, ready to be written again."""
    return {
        key: Typed(value, file.value_types[key]) if file.value_types[key] in SCALARS else value
        for key, value in file.metadata.items()
    }


def encode_metadata(metadata: Mapping[str, Any]) -> bytes:
    """All key/value pairs in order.

    bool, str; int as u32, else i32, else 64 bit; float as f32; `Typed` as it says; numpy arrays by
    dtype; `StringArray` byte for byte; lists of str, bool, int (i32, else i64), float (f32).
    Raises IngleError naming the key for anything else.
    """
    return b"".join(
        encode_string(key) + encode_value(value, where=f"metadata {quoted(key)}")
        for key, value in metadata.items()
    )


def encode_string(text: str | bytes) -> bytes:
    """Length and bytes of one string."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def encode_value(value: Any, where: str) -> bytes:
    """Value type id and value."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + encode_string(value)
    if isinstance(value, StringArray | np.ndarray | list | tuple):
        return struct.pack("<I", ARRAY) + _encode_array(value, where)
    scalar = value if isinstance(value, Typed) else Typed(value, _scalar_type(value, where))
    dtype = SCALARS.get(scalar.type_id)
    if dtype is None or not _fits(scalar.value, dtype):
        raise IngleError(
            where, f"value must fit value type {scalar.type_id}, but got {scalar.value}"
        )
    item = np.array(scalar.value, dtype)
    return struct.pack("<I", scalar.type_id) + item.tobytes()


def _fits(value: int | float | bool, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "b":
        return isinstance(value, bool)
    if dtype.kind == "f":
        return not math.isfinite(value) or abs(value) <= float(np.finfo(dtype).max)
    limits = np.iinfo(dtype)
    return isinstance(value, int) and int(limits.min) <= value <= int(limits.max)


def _scalar_type(value: Any, where: str) -> int:
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, float):
        return F32
    if isinstance(value, int):
        for type_id in (U32, I32, I64, U64):
            limits = np.iinfo(SCALARS[type_id])
            if int(limits.min) <= value <= int(limits.max):
                return type_id
    raise IngleError(where, f"value must be one GGUF can hold, but got {quoted(repr(value))}")


def _encode_array(values: Any, where: str) -> bytes:
    if isinstance(values, StringArray):
        return struct.pack("<IQ", STRING, len(values)) + values.stored()
    if isinstance(values, np.ndarray):
        return _encode_numbers(values, where)
    kinds = {type(value) for value in values}
    if kinds <= {str} and values:
        return struct.pack("<IQ", STRING, len(values)) + b"".join(map(encode_string, values))
    if kinds == {bool} or kinds == {float}:
        return _encode_numbers(np.array(values, "?" if bool in kinds else "<f4"), where)
    if kinds <= {int}:
        small = all(-(1 << 31) <= value < 1 << 31 for value in values)
        try:
            return _encode_numbers(np.array(values, "<i4" if small else "<i8"), where)
        except OverflowError:
            raise IngleError(where, "integers of an array must fit 64 bits") from None
    if kinds <= {np.ndarray, list, tuple, StringArray}:
        items = b"".join(_encode_array(value, where) for value in values)
        return struct.pack("<IQ", ARRAY, len(values)) + items
    raise IngleError(where, "array must hold one kind of value")


def _encode_numbers(values: np.ndarray[Any, np.dtype[Any]], where: str) -> bytes:
    for type_id, dtype in SCALARS.items():
        if values.dtype.newbyteorder("<") == dtype:
            raw = np.ascontiguousarray(values, dtype).tobytes()
            return struct.pack("<IQ", type_id, values.size) + raw
    raise IngleError(where, f"array must be of a type GGUF has, but got {values.dtype}")
