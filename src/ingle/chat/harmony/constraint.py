"""Owns what an assistant may write in a Harmony turn: headers, calls and answers; analysis is free.

The automaton that reads a reply (`HarmonyParser`) also says where in it the next id stands, so
masking and reading cannot disagree. It does not know how a token is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Thread
from typing import Any, Self

import numpy as np

from ingle.chat.constraint import Cost, Grammar, GrammarConstraint, GrammarVocabulary, bits_of
from ingle.chat.constraint.bits import Bits, allows
from ingle.chat.harmony.headers import HeaderGrammar
from ingle.chat.harmony.parser import HarmonyParser, Phase
from ingle.chat.harmony.tokens import (
    ANALYSIS,
    CALL,
    CHANNEL,
    CHANNELS,
    END,
    FINAL,
    FIRST_SPECIAL,
    MESSAGE,
    RETURN,
    START,
)
from ingle.tokenizer import Tokenizer, o200k_harmony

_ROLE = "assistant"


@dataclass(frozen=True)
class TurnRules:
    """What is asked of one reply.

    channels: those it may use without a recipient. calls: recipients it may write to, and what
    their content must follow (None: any text, as "python" takes). answer: what the content of
    "final" must follow. budget: ids of analysis, after which only `closing` may come: an answer,
    or a call where one is required.
    """

    channels: tuple[str, ...] = CHANNELS
    calls: Mapping[str, Grammar | None] = field(default_factory=dict)
    answer: Grammar | None = None
    budget: int | None = None

    @property
    def masks(self) -> bool:
        """Whether anything is held back before the budget is spent."""
        return bool(self.calls) or self.answer is not None or self.channels != CHANNELS

    @property
    def headers(self) -> HeaderGrammar:
        """All headers that may be written."""
        return _headers(self.channels, tuple(self.calls))

    @property
    def closing(self) -> HeaderGrammar:
        """The headers that may be written once the budget is spent."""
        if FINAL in self.channels:
            return _headers((FINAL,), ())
        return _headers((), tuple(self.calls))

    @property
    def num_closing_ids(self) -> int:
        """Ids at most from spent reasoning to the first of what must follow."""
        opening = len(_answer_header()) if FINAL in self.channels else self.closing.longest
        return 2 + opening

    @property
    def spec(self) -> dict[str, Any]:
        """What `of_spec` makes the same rules of."""
        return {
            "channels": list(self.channels),
            "calls": {k: None if g is None else g.spec for k, g in self.calls.items()},
            "answer": None if self.answer is None else self.answer.spec,
            "budget": self.budget,
        }

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The rules of a spec. Raises IngleError for what is no grammar."""
        return cls(
            tuple(spec["channels"]),
            {k: None if g is None else Grammar.of_spec(g) for k, g in spec["calls"].items()},
            None if spec["answer"] is None else Grammar.of_spec(spec["answer"]),
            spec["budget"],
        )


class HarmonyConstraint:
    """A `TokenConstraint` of one reply, whose prompt ends in ``<|start|>assistant`` and `opened`.

    The first content that has a grammar needs the vocabulary as tries; a thread begins with them.
    """

    def __init__(
        self, tokenizer: Tokenizer, rules: TurnRules, opened: tuple[int, ...] = ()
    ) -> None:
        self.cost = Cost()
        self.spent = 0
        self.spec: dict[str, object] = {
            "kind": "harmony",
            "rules": rules.spec,
            "opened": list(opened),
        }
        """What the same constraint can be made of, before its first id."""
        self._tokenizer, self._rules = tokenizer, rules
        self._size = tokenizer.vocab_size
        self._parser = HarmonyParser(_ROLE)
        self._held: GrammarConstraint | None = None
        self._queue: tuple[int, ...] = ()
        self._closing = False
        for token_id in opened:
            self.advance(token_id)
        if rules.answer is not None or any(rules.calls.values()):
            Thread(target=GrammarVocabulary.of, args=(tokenizer,), name="ingle-grammar").start()
        if rules.budget == 0 and self._parser.phase is Phase.HEADER:
            self._close(())

    def mask(self) -> Bits | None:
        """Bits of the ids that may come next; None: any."""
        if self._queue:
            return bits_of(self._queue[:1], self._size)
        if not (self._rules.masks or self._closing):
            return None
        if self._parser.phase is Phase.HEADER:
            allowed = self._headers().allowed(self._parser.header_ids)
            return bits_of(allowed, self._size) if allowed else None
        if self._parser.phase is Phase.BETWEEN:
            return bits_of([START], self._size)
        return self._content_mask()

    def advance(self, token_id: int) -> None:
        """Takes in an id that the mask allowed."""
        self._queue = self._queue[1:]
        parser, was_content = self._parser, self._parser.phase is Phase.CONTENT
        if self._held is not None and token_id < FIRST_SPECIAL:
            self._held.advance(token_id)
        parser.feed(token_id)
        if parser.phase is not Phase.CONTENT:
            self._held = None
        elif not was_content:
            self._held = self._hold()
        elif parser.channel == ANALYSIS and parser.recipient is None and not self._queue:
            self._spend()

    def forced(self) -> tuple[int, ...]:
        """The ids that must come next."""
        if self._queue or not (self._rules.masks or self._closing):
            return self._queue
        if self._parser.phase is Phase.HEADER:
            return self._headers().forced(self._parser.header_ids)
        if self._parser.phase is Phase.BETWEEN:
            return (START, *self._headers().forced(()))
        return () if self._held is None else tuple(self._held.forced())

    def _headers(self) -> HeaderGrammar:
        return self._rules.closing if self._closing else self._rules.headers

    def _spend(self) -> None:
        """Counts an id of analysis; the one that spends the budget ends it."""
        self.spent += 1
        if self._rules.budget is not None and self.spent >= self._rules.budget:
            self._close((END, START))

    def _close(self, ending: tuple[int, ...]) -> None:
        """From now on reasoning is over: `ending`, then an opened answer if it may come."""
        self._closing = True
        said = len(self._parser.header_ids) if not ending else 0
        opening = _answer_header()[said:] if FINAL in self._rules.channels else ()
        self._queue = (*ending, *opening)

    def _hold(self) -> GrammarConstraint | None:
        """The way through the grammar of the content that begins, if it has one."""
        parser, rules = self._parser, self._rules
        if parser.recipient is not None:
            grammar = rules.calls.get(parser.recipient)
        else:
            grammar = rules.answer if parser.channel == FINAL else None
        if grammar is None:
            return None
        vocabulary = GrammarVocabulary.of(self._tokenizer)
        self.cost.vocabulary_s = vocabulary.build_s
        return GrammarConstraint(vocabulary, grammar, self.cost)

    def _content_mask(self) -> Bits:
        end = self._end()
        if self._held is None:
            return _text_and(end, self._size)
        bits = self._held.mask().copy()
        ends = self._held.vocabulary.eos_ids
        may_end = any(allows(bits, one) for one in ends)
        for one in ends:
            bits[one >> 3] &= ~(1 << (one & 7)) & 0xFF
        if may_end:
            bits[end >> 3] |= 1 << (end & 7)
        return bits

    def _end(self) -> int:
        """The id that ends the message whose content is being written."""
        if self._parser.recipient is not None:
            return CALL
        return RETURN if self._parser.channel == FINAL else END


@lru_cache(maxsize=64)
def _headers(channels: tuple[str, ...], recipients: tuple[str, ...]) -> HeaderGrammar:
    return HeaderGrammar(channels, recipients)


@lru_cache(maxsize=8)
def _text_and(token_id: int, size: int) -> Bits:
    """All ids that are text, and one more."""
    flags = np.zeros(size, np.bool_)
    flags[: min(size, FIRST_SPECIAL)] = True
    flags[token_id] = True
    return np.packbits(flags, bitorder="little")


@lru_cache(maxsize=1)
def _answer_header() -> tuple[int, ...]:
    """Ids of the header of an answer, from the role on."""
    encode = o200k_harmony().encode
    return (*encode(_ROLE), CHANNEL, *encode(FINAL), MESSAGE)


def opened_answer() -> tuple[int, ...]:
    """Ids that, after ``<|start|>assistant``, open an answer and so leave no room for analysis."""
    return _answer_header()[1:]
