"""Owns loading: a container's tensors become a backend's weight handles.

It does not know any architecture; each file beside it names the tensors it wants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.errors import FileFormatError
from ingle.formats import Container
from ingle.numerics import FORMATS, decode
from ingle.ops import Backend, Linear, Weight


class Checkpoint:
    """A container seen by a model file: typed metadata and tensors of checked shapes."""

    def __init__(self, container: Container, backend: Backend) -> None:
        self.container = container
        self.backend = backend

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The container's key/value pairs."""
        return self.container.metadata

    def has(self, name: str) -> bool:
        """Whether a tensor of that name exists."""
        return name in self.container.tensors

    def integer(self, key: str, default: int | None = None, *, low: int = 1, high: int) -> int:
        """A whole number of the metadata within [low, high]; FileFormatError otherwise."""
        value = self.metadata.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._bad(key, f"must be a whole number from {low} to {high}, but got {value!r}")
        return value

    def real(self, key: str, default: float | None = None, *, low: float, high: float) -> float:
        """A number of the metadata within [low, high]; FileFormatError otherwise."""
        value = self.metadata.get(key, default)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high:
            raise self._bad(key, f"must be a number from {low} to {high}, but got {value!r}")
        return float(value)

    def matrix(self, name: str, rows: int, columns: int) -> Weight:
        """Handle of a weight (rows, columns)."""
        data = self._read(name, (rows, columns))
        fmt = FORMATS[self.container.tensors[name].format]
        return self.backend.matrix(name, fmt, data)

    def linear(self, name: str, rows: int, columns: int) -> Linear:
        """`name`.weight (rows, columns) with `name`.bias (rows,) where the file has one."""
        weight = self.matrix(f"{name}.weight", rows, columns)
        bias = f"{name}.bias"
        return Linear(weight, self.vector(bias, rows) if self.has(bias) else None)

    def vector(self, name: str, length: int) -> Weight:
        """Handle of a vector, decoded to float32 (length,)."""
        data = self._read(name, (length,))
        values = decode(FORMATS[self.container.tensors[name].format], data)
        return self.backend.vector(name, np.ascontiguousarray(values, np.float32))

    def _read(self, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        info = self.container.tensors.get(name)
        where = str(self.container.path.name)
        if info is None:
            raise FileFormatError(
                where,
                f"tensor {name} must exist, but got a file without it",
                "the file may be cut, or be of another architecture than it claims",
            )
        if info.shape != shape:
            raise FileFormatError(
                where, f"tensor {name} must have shape {shape}, but got {info.shape}"
            )
        if info.format not in FORMATS:
            raise FileFormatError(
                where, f"tensor {name} must be of a known number format, but got {info.format}"
            )
        return self.container.read(name)

    def _bad(self, key: str, rule: str) -> FileFormatError:
        return FileFormatError(f"{self.container.path.name} {key}", rule)
