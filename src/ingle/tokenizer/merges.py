"""Owns byte-pair encoding by merge lists, done by the `tokenizers` library.

It does not know special tokens: the text it is handed has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from ingle.errors import FileFormatError
from ingle.tokenizer.splits import Split


class MergeEncoder:
    """Text -> ids with a vocabulary of byte-level spellings and its merges, best first.

    where: names the file in errors. spellings: spelling -> id of the ordinary tokens only.
    Bytes that the vocabulary cannot spell are dropped, as `tokenizers` does (SmolLM2 lacks 21).
    Raises FileFormatError if a merge names a token that the vocabulary lacks.
    """

    def __init__(
        self, where: str, spellings: dict[str, int], merges: list[tuple[str, str]], split: Split
    ) -> None:
        import tokenizers

        try:
            model = tokenizers.models.BPE(spellings, merges, ignore_merges=split.ignore_merges)
        except Exception as error:  # the library raises bare Exception with the token in its text
            rule = f"merges join tokens of the vocabulary, but got: {_one_line(error)}"
            raise FileFormatError(where, rule) from None
        self._bpe = tokenizers.Tokenizer(model)
        self._bpe.pre_tokenizer = split.build()
        if split.nfc:
            self._bpe.normalizer = tokenizers.normalizers.NFC()

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, which holds no lone surrogates."""
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return ids


def merge_pairs(where: str, merges: Iterable[Any]) -> list[tuple[str, str]]:
    """Merges written "left right", or already as pairs, as pairs."""
    pairs = [tuple(m.split(" ")) if isinstance(m, str) else _pair(m) for m in merges]
    for i, pair in enumerate(pairs):
        if len(pair) != 2 or not (pair[0] and pair[1]):
            rule = f"a merge is two tokens and one space, but got {pair!r:.80} as merge {i}"
            raise FileFormatError(where, rule)
    return cast(list[tuple[str, str]], pairs)


def _pair(merge: Any) -> tuple[Any, ...]:
    return tuple(merge) if isinstance(merge, list | tuple) else (merge,)


def _one_line(error: Exception) -> str:
    """The library's text without what a hostile token could do to a terminal."""
    text = " ".join(str(error).split())[:200]
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
