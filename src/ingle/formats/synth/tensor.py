"""Owns what one tensor of a synthetic checkpoint is: name, stored form, and which rows it takes.

It does not know any architecture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from ingle.formats.mapping import Bytes
from ingle.formats.synth.draw import Draw
from ingle.numerics import FORMATS
from ingle.numerics.mxfp4 import gguf_to_openai


class Part(Enum):
    """What of the encoded rows is stored; OpenAI keeps codes and exponents of MXFP4 apart."""

    ALL = "all"
    CODES = "codes"
    EXPONENTS = "exponents"


@dataclass(frozen=True)
class SynthTensor:
    """A tensor to be written: the given rows of each draw, one draw after the other.

    format, shape: as the container has them; a part of MXFP4 is U8.
    """

    name: str
    format: str
    shape: tuple[int, ...]
    draws: tuple[Draw, ...]
    rows: slice = field(default_factory=lambda: slice(None))
    part: Part = Part.ALL

    def pieces(self, seed: int) -> Iterator[Bytes]:
        """The tensor's bytes in order."""
        fmt = FORMATS[self.format if self.part is Part.ALL else "MXFP4"]
        for draw in self.draws:
            for piece in draw.pieces(seed, fmt, self.rows):
                if self.part is Part.ALL:
                    yield piece
                else:
                    codes, exponents = gguf_to_openai(piece)
                    yield codes if self.part is Part.CODES else exponents
