"""Owns what every container of tensors offers: facts about tensors, and their bytes row by row.

It does not know how a container is stored, nor how bytes become numbers (`ingle.numerics`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ingle.formats.mapping import Bytes


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies and how it is stored.

    shape is row-major, outermost first; row_bytes is the size of one innermost row; path and offset
    (bytes from the start of that file) say where the data begins.
    """

    name: str
    format: str
    shape: tuple[int, ...]
    row_bytes: int
    nbytes: int
    path: Path
    offset: int

    @property
    def num_elements(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight, scales included; 0 for an empty tensor."""
        return 8 * self.nbytes / self.num_elements if self.num_elements else 0.0


class Container(Protocol):
    """A model on disk, opened lazily: only headers have been read."""

    @property
    def path(self) -> Path:
        """What was opened: a file, or a folder of files."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file the tensors lie in."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The container's own key/value pairs."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """All tensors by name, in file order."""

    def release(self) -> None:
        """Let go of file pages read so far; views stay valid and are read again when used."""

    def read(self, name: str) -> Bytes:
        """Bytes of a tensor as a read-only view, `(*shape[:-1], row_bytes)` uint8, without a copy.

        Raises IngleError when there is no tensor of that name.
        """
