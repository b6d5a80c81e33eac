"""Owns what keys and values are kept as: float16, or float32. It does not know pages.

They are rounded once, when they are written; whatever reads them sees the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError

KV_DTYPES: Mapping[str, np.dtype[Any]] = {
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
}
USUAL_KV_TYPE = "f16"

KvArray = NDArray[np.floating[Any]]  # float16 or float32


def kv_dtype(kv_type: str, where: str = "kv_type") -> np.dtype[Any]:
    """The dtype of a type's name. Raises IngleError, told of `where`, for a name that is none.

    >>> kv_dtype("f16").itemsize
    2
    """
    if kv_type not in KV_DTYPES:
        rule = f"keys and values must be {' or '.join(KV_DTYPES)}, but got {kv_type!r:.60}"
        raise IngleError(where, rule, f"leave it out for {USUAL_KV_TYPE}; f32 takes twice as much")
    return KV_DTYPES[kv_type]


def kept(values: NDArray[np.float32], dtype: np.dtype[Any]) -> KvArray:
    """Numbers as they are kept: rounded to nearest even; beyond a type's range its largest."""
    if values.dtype == dtype:
        return values
    largest = np.float32(np.finfo(dtype).max)
    return np.minimum(np.maximum(values, -largest), largest).astype(dtype)
