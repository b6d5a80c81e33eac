"""Owns what a vocabulary says besides its merges: bytes by id, special tokens, where texts end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ingle.errors import FileFormatError
from ingle.tokenizer import byte_level

MAX_TOKENS = 1 << 21
_MAX_SPECIALS = 8192
_MAX_SPECIAL_CHARS = 1024

# Tokens that end a generation wherever they exist, whatever the file lists as its eos id.
_END_NAMES = frozenset(
    {
        "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>",
        "<|return|>", "<|call|>", "<end_of_turn>",
    }
)  # fmt: skip


class TokenTable(Protocol):
    """Bytes of every token, by id."""

    def __len__(self) -> int: ...

    def __getitem__(self, token_id: int, /) -> bytes: ...


class SpelledTable:
    """Token bytes made on demand from byte-level spellings; `literal` ids are plain text."""

    def __init__(self, spellings: Sequence[str], literal: Iterable[int]) -> None:
        self._spellings = spellings
        self._literal = frozenset(literal)

    def __len__(self) -> int:
        return len(self._spellings)

    def __getitem__(self, token_id: int, /) -> bytes:
        spelling = self._spellings[token_id]
        if token_id in self._literal:
            return spelling.encode("utf-8", "surrogatepass")
        return byte_level.token_bytes(spelling)


@dataclass(frozen=True)
class Vocabulary:
    """Facts about a vocabulary.

    specials: text -> id of the tokens that rendered templates may name.
    control_ids: the specials that are no text (`decode(skip_special=True)` drops them).
    eos_ids: every id that ends a generation.
    """

    table: TokenTable
    specials: Mapping[str, int]
    control_ids: frozenset[int]
    bos_id: int | None
    eos_id: int | None
    eos_ids: frozenset[int]
    add_bos: bool


def check_specials(where: str, specials: Mapping[str, int]) -> None:
    """Refuse special tokens that would make searching a text for them slow or meaningless."""
    if len(specials) > _MAX_SPECIALS:
        rule = f"at most {_MAX_SPECIALS} special tokens are read, but got {len(specials)}"
        raise FileFormatError(where, rule)
    for text, token_id in specials.items():
        if not 0 < len(text) <= _MAX_SPECIAL_CHARS:
            rule = f"a special token has 1 to {_MAX_SPECIAL_CHARS} characters"
            raise FileFormatError(where, f"{rule}, but got {len(text)} for id {token_id}")


def end_ids(specials: Mapping[str, int], stated: Iterable[int]) -> frozenset[int]:
    """Ids that end a generation: those a file states, and those known by name.

    gpt-oss states only <|return|>; a tool call ends at <|call|>, and <|end|> goes on.
    """
    return frozenset(stated) | {specials[name] for name in _END_NAMES & specials.keys()}
