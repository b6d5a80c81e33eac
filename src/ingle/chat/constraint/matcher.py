"""Owns one answer's way through a grammar: which ids may follow those that were said.

It does not know where in a reply the grammar applies.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
from llguidance import LLMatcher

from ingle.chat.constraint.bits import Bits, bits_of
from ingle.chat.constraint.cost import Cost
from ingle.chat.constraint.grammar import Grammar
from ingle.chat.constraint.vocabulary import GrammarVocabulary
from ingle.errors import IngleError, UnsupportedError


class GrammarConstraint:
    """A `TokenConstraint`: an answer that follows a grammar, and then ends.

    Where the grammar is fulfilled, the ids that end a text are allowed; where nothing else may
    come, they alone. Raises UnsupportedError for a grammar too large for this vocabulary.
    """

    def __init__(
        self, vocabulary: GrammarVocabulary, grammar: Grammar, cost: Cost | None = None
    ) -> None:
        started = perf_counter()
        self.vocabulary, self._grammar = vocabulary, grammar
        self.cost = Cost(vocabulary_s=vocabulary.build_s) if cost is None else cost
        self._matcher = LLMatcher(vocabulary.tries, grammar.source, log_level=0)
        self._bits = np.zeros(-(-vocabulary.size // 32) * 4, np.uint8)
        self._forced: list[int] | None = None
        self._fresh = False
        self.cost.compile_s += perf_counter() - started
        if self._matcher.is_error():
            rule = f"a grammar must be compiled, but got: {self._error()}"
            raise UnsupportedError(grammar.where, rule, "ask for less")

    @property
    def spec(self) -> dict[str, object]:
        """What the same constraint can be made of, before its first id."""
        return {"kind": "grammar", "grammar": self._grammar.spec}

    @property
    def accepts(self) -> bool:
        """Whether what was said so far is all that the grammar asks for."""
        return self._matcher.is_accepting()

    def mask(self) -> Bits:
        """Bits of the ids that may come next. Raises IngleError where the grammar gave up."""
        if not self._fresh:
            self._compute()
        return self._bits

    def advance(self, token_id: int) -> None:
        """Takes in an id that the mask allowed."""
        started = perf_counter()
        forced = self._forced
        self._forced = (forced[1:] or None) if forced and forced[0] == token_id else None
        self._fresh = False
        self._matcher.consume_token(token_id)
        self._check()
        self.cost.mask_s += perf_counter() - started

    def forced(self) -> list[int]:
        """Ids without alternative, as the tokenizer itself would cut their text."""
        if self._forced is None:
            started = perf_counter()
            self._forced = self._matcher.compute_ff_tokens()
            self.cost.mask_s += perf_counter() - started
        return list(self._forced)

    def _compute(self) -> None:
        forced = self.forced()
        started = perf_counter()
        if forced:
            self._bits = bits_of(forced[:1], self.vocabulary.size)
        else:
            self._bits = np.zeros(-(-self.vocabulary.size // 32) * 4, np.uint8)
            self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
            self._check()
        self._fresh = True
        self.cost.mask_s += perf_counter() - started
        self.cost.masks += 1

    def _check(self) -> None:
        if self._matcher.is_error():
            rule = f"the grammar must go on, but got: {self._error()}"
            raise IngleError(self._grammar.where, rule, "ask for a smaller schema")

    def _error(self) -> str:
        said = self._matcher.get_error().partition("<state>")[0]
        return " ".join(said.split())[:200].rstrip(".")
