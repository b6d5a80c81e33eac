"""Owns `Tokenizer`: text to ids and back, with special tokens kept out of ordinary text.

It does not know how pieces are merged (an encoder does) nor where a vocabulary was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

from ingle.errors import IngleError
from ingle.tokenizer.decoding import IncrementalDecoder
from ingle.tokenizer.vocabulary import Vocabulary


class TextEncoder(Protocol):
    """Ordinary text -> ids."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, which holds no lone surrogates; never a special token."""
        ...


class Tokenizer:
    """A vocabulary and the encoder that belongs to it. Immutable; may be shared by threads."""

    def __init__(self, encoder: TextEncoder, vocabulary: Vocabulary) -> None:
        self._encoder = encoder
        self._vocabulary = vocabulary
        self.vocab_size: int = len(vocabulary.table)
        self.special_tokens: Mapping[str, int] = MappingProxyType(dict(vocabulary.specials))
        self.control_ids: frozenset[int] = vocabulary.control_ids
        self.bos_id: int | None = vocabulary.bos_id
        self.eos_id: int | None = vocabulary.eos_id
        self.eos_ids: frozenset[int] = vocabulary.eos_ids
        self.add_bos: bool = vocabulary.add_bos

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text: what looks like a special token is encoded letter by letter.

        Lone surrogates count as U+FFFD. No bos token is added.
        """
        return self._encoder.encode(_well_formed(text))

    def encode_with_specials(self, text: str) -> list[int]:
        """Ids of rendered text, in which every special token's text becomes its id.

        At each place the longest special token wins. Hand no user's text to this.
        """
        ids: list[int] = []
        for ordinary, special in self.split_specials(text):
            if ordinary:
                ids += self.encode(ordinary)
            if special is not None:
                ids.append(special)
        return ids

    def split_specials(self, text: str) -> Iterable[tuple[str, int | None]]:
        """(text before, id) of each special token in `text`, then (the rest, None)."""
        if self._specials is None:
            yield text, None
            return
        start = 0
        for match in self._specials.finditer(text):
            yield text[start : match.start()], self.special_tokens[match[0]]
            start = match.end()
        yield text[start:], None

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """Text of `ids`; invalid UTF-8 becomes U+FFFD. `skip_special` drops control tokens."""
        skipped = self.control_ids if skip_special else frozenset()
        joined = b"".join(self.token_bytes(i) for i in ids if i not in skipped)
        return joined.decode("utf-8", "replace")

    def decoder(self, skip_special: bool = False) -> IncrementalDecoder:
        """A fresh incremental decoder; its output equals `decode` of the same ids."""
        if not skip_special:
            return IncrementalDecoder(self.token_bytes)
        return IncrementalDecoder(lambda i: b"" if i in self.control_ids else self.token_bytes(i))

    def token_bytes(self, token_id: int) -> bytes:
        """Bytes of one token. Raises IngleError outside 0..vocab_size-1."""
        if not 0 <= token_id < self.vocab_size:
            rule = f"a token id lies in 0..{self.vocab_size - 1}, but got {token_id}"
            raise IngleError("token id", rule)
        return self._vocabulary.table[token_id]

    @cached_property
    def _specials(self) -> re.Pattern[str] | None:
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _well_formed(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
