"""Owns answers whose reasoning stands between two tokens (``<think>``, ``</think>``).

The reasoning is free but for its length; what follows it is held to a grammar. It does not know
Harmony, which has channels instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Self

import numpy as np

from ingle.chat.constraint.bits import Bits, bits_of
from ingle.chat.constraint.cost import Cost
from ingle.chat.constraint.matcher import GrammarConstraint
from ingle.tokenizer import Tokenizer

BEGIN, END = "<think>", "</think>"


@dataclass(frozen=True)
class ThinkingTokens:
    """How a model marks its reasoning. closing: ids that end it; after: ids between it and the
    answer."""

    begin: int
    end: int
    closing: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self | None:
        """Those of a vocabulary; None where reasoning is not marked by single tokens."""
        begin, end = (tokenizer.special_tokens.get(text) for text in (BEGIN, END))
        if begin is None or end is None:
            return None
        after = tuple(tokenizer.encode("\n\n"))
        return cls(begin, end, (*tokenizer.encode("\n"), end, *after), after)


class Place(Enum):
    """Where in an answer its next id stands."""

    BEFORE = "before"
    INSIDE = "inside"
    AFTER = "after"


class ThinkingConstraint:
    """A `TokenConstraint`: reasoning of at most `budget` ids, then what `answer` allows.

    place: where the prompt leaves the model. budget None: any length. The reasoning that spends
    its budget is closed by the tokens that the model itself would close it with.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        tokens: ThinkingTokens,
        answer: GrammarConstraint | None = None,
        place: Place = Place.BEFORE,
        budget: int | None = None,
    ) -> None:
        self.place, self.spent = place, 0
        self.spec: dict[str, object] = {
            "kind": "thinking",
            "answer": None if answer is None else answer.spec,
            "place": place.value,
            "budget": budget,
        }
        """What the same constraint can be made of, before its first id."""
        self._tokens, self._answer, self._budget = tokens, answer, budget
        self._size = tokenizer.vocab_size
        self._free = _text_and(tokens.end, tokenizer)
        self._queue: tuple[int, ...] = ()
        self._close_if_spent()

    @property
    def cost(self) -> Cost | None:
        """What holding the answer to its grammar cost."""
        return None if self._answer is None else self._answer.cost

    def mask(self) -> Bits | None:
        """Bits of the ids that may come next; None: any."""
        if self._queue:
            return bits_of(self._queue[:1], self._size)
        if self._answer is None:
            return None
        if self.place is Place.INSIDE:
            return self._free
        if self.place is Place.AFTER:
            return self._answer.mask()
        either: Bits = self._answer.mask() | self._padded([self._tokens.begin])
        return either

    def advance(self, token_id: int) -> None:
        """Takes in an id that the mask allowed."""
        queued = bool(self._queue)
        self._queue = self._queue[1:]
        if self.place is Place.INSIDE:
            self._reason(token_id, queued)
        elif self.place is Place.BEFORE and token_id == self._tokens.begin:
            self.place = Place.INSIDE
            self._close_if_spent()
        elif not queued:
            self.place = Place.AFTER
            if self._answer is not None:
                self._answer.advance(token_id)

    def forced(self) -> Sequence[int]:
        """The ids that must come next."""
        if self._queue:
            return self._queue
        if self.place is Place.AFTER and self._answer is not None:
            return self._answer.forced()
        return ()

    def _reason(self, token_id: int, queued: bool) -> None:
        self.spent += 1
        if token_id == self._tokens.end:
            self.place = Place.AFTER
            if self._answer is not None and not queued:
                self._queue = self._tokens.after
        elif not queued:
            self._close_if_spent()

    def _close_if_spent(self) -> None:
        spent = self._budget is not None and self.spent >= self._budget
        if spent and self.place is Place.INSIDE:
            self._queue = self._tokens.closing

    def _padded(self, ids: Sequence[int]) -> Bits:
        assert self._answer is not None
        bits = np.zeros_like(self._answer.mask())
        found = bits_of(ids, self._size)
        bits[: len(found)] = found
        return bits


def place_of(prompt_end: str) -> Place:
    """Where a prompt that ends so leaves the model.

    >>> place_of("assistant\\n<think>\\n\\n</think>\\n\\n")
    <Place.AFTER: 'after'>
    """
    text = prompt_end.rstrip()
    if text.endswith(BEGIN):
        return Place.INSIDE
    return Place.AFTER if text.endswith(END) else Place.BEFORE


def _text_and(token_id: int, tokenizer: Tokenizer) -> Bits:
    """All ids that are text, and one more."""
    flags = np.ones(tokenizer.vocab_size, np.bool_)
    flags[list({*tokenizer.special_tokens.values(), *tokenizer.eos_ids})] = False
    flags[token_id] = True
    return np.packbits(flags, bitorder="little")
