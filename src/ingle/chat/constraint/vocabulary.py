"""Owns a tokenizer's vocabulary as llguidance's tries: built once per tokenizer, some 1 s for 200k.

It does not know grammars.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from time import perf_counter

from llguidance import LLTokenizer

from ingle.errors import UnsupportedError
from ingle.tokenizer import Tokenizer

_building = Lock()


class GrammarVocabulary:
    """A vocabulary that grammars are compiled for. build_s: seconds it took.

    Every special token counts as no text: only a grammar that names it by id allows it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        started = perf_counter()
        if not tokenizer.eos_ids:
            rule = "a vocabulary must have an end of text for answers in a format, but got none"
            raise UnsupportedError("format", rule)
        self.tokenizer = tokenizer
        self.size = tokenizer.vocab_size
        self.eos_ids = tuple(sorted(tokenizer.eos_ids))
        self.tries = LLTokenizer(_Words(tokenizer), eos_token=list(self.eos_ids))  # type: ignore[arg-type]
        self.build_s = perf_counter() - started

    @staticmethod
    def of(tokenizer: Tokenizer) -> GrammarVocabulary:
        """The one for a tokenizer, made at its first use; the latest four are kept."""
        with _building:
            return _made(tokenizer)


@lru_cache(maxsize=4)
def _made(tokenizer: Tokenizer) -> GrammarVocabulary:
    return GrammarVocabulary(tokenizer)


class _Words:
    """A tokenizer as llguidance asks for it."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = min(tokenizer.eos_ids)
        self.bos_token_id = tokenizer.bos_id
        self.tokens: Sequence[bytes] = list(map(tokenizer.token_bytes, range(tokenizer.vocab_size)))
        self.special_token_ids = sorted({*tokenizer.special_tokens.values(), *tokenizer.eos_ids})

    def __call__(self, text: str | bytes) -> list[int]:
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return self._tokenizer.encode(said)
