"""Owns what a reply is told in while it is written: text, reasoning, calls, log-probabilities.

It does not know chat formats, nor HTTP's events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ingle.llm.completion import TokenLogprob
from ingle.llm.reasoning import Part


class Place(Enum):
    """What an id of a reply is part of: its answer, its reasoning, or neither (marks, calls)."""

    ANSWER = "answer"
    REASONING = "reasoning"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call of a tool begins. index: of the reply's calls, from 0."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallText:
    """More of the arguments of call `index`, as written: all of them joined should be JSON."""

    index: int
    text: str


Piece = Part | CallBegun | CallText | TokenLogprob
"""A log-probability comes before the text that its token is part of."""


def parts_of(pieces: Iterable[Piece]) -> list[Part]:
    """The text and the reasoning among pieces."""
    return [piece for piece in pieces if isinstance(piece, Part)]
