"""Owns o200k_harmony, the vocabulary of gpt-oss, which comes with the package.

Ordinary tokens are OpenAI's o200k_base (ids 0..199997); the special ones are those of
openai-harmony and of the models' tokenizer.json. Native code cuts and merges: `tokenizers` and
tiktoken need longer to take in 200k tokens than a model needs to be mapped. The packed file is
written by native/tokenizer/pack_o200k.py. It does not know Harmony's message format.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from ingle._native import O200kEncoder
from ingle.tokenizer.tokenizer import Tokenizer
from ingle.tokenizer.vocabulary import Vocabulary, end_ids

NUM_ORDINARY = 199_998
VOCAB_SIZE = 201_088
TOKENIZER_JSON_SHA256 = "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3"
"""The file that comes with gpt-oss-20b and gpt-oss-120b."""

# Of the ordinary tokens in a GGUF file's spelling, each followed by a newline.
_SPELLINGS_SHA256 = "9b649a1c8f3d146fd58a23c4a6bc73896f58a850a42e6b711861ad20e41356bc"
_CODE_POINTS = 0x110000

_NAMED = {
    "<|startoftext|>": 199998,
    "<|endoftext|>": 199999,
    "<|return|>": 200002,
    "<|constrain|>": 200003,
    "<|channel|>": 200005,
    "<|start|>": 200006,
    "<|end|>": 200007,
    "<|message|>": 200008,
    "<|call|>": 200012,
    "<|endofprompt|>": 200018,
}


class OrdinaryTokens:
    """Encoder and bytes of o200k_base's 199 998 tokens."""

    def __init__(self) -> None:
        packed = Path(__file__).with_name("o200k.bin").read_bytes()
        payload = zlib.decompress(packed)
        lengths, rest = payload[:NUM_ORDINARY], payload[NUM_ORDINARY:]
        self._encoder = O200kEncoder(lengths, rest[:-_CODE_POINTS], rest[-_CODE_POINTS:])

    def __len__(self) -> int:
        return NUM_ORDINARY

    def __getitem__(self, token_id: int, /) -> bytes:
        token: bytes = self._encoder.token(token_id)
        return token

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, which holds no lone surrogates."""
        ids: list[int] = self._encoder.encode(text.encode("utf-8"))
        return ids


class ExtendedTable:
    """Bytes of the ordinary tokens, then of literal tokens added to them."""

    def __init__(self, ordinary: OrdinaryTokens, added: Sequence[str]) -> None:
        self._ordinary = ordinary
        self._added = added

    def __len__(self) -> int:
        return NUM_ORDINARY + len(self._added)

    def __getitem__(self, token_id: int, /) -> bytes:
        if token_id < NUM_ORDINARY:
            return self._ordinary[token_id]
        return self._added[token_id - NUM_ORDINARY].encode("utf-8", "surrogatepass")


@cache
def ordinary_tokens() -> OrdinaryTokens:
    """The unpacked vocabulary, one for the process."""
    return OrdinaryTokens()


@cache
def o200k_harmony() -> Tokenizer:
    """The tokenizer of gpt-oss: 201 088 ids, of which 199998 and up are special."""
    names = {i: text for text, i in _NAMED.items()}
    added = [names.get(i, f"<|reserved_{i}|>") for i in range(NUM_ORDINARY, VOCAB_SIZE)]
    specials = {text: NUM_ORDINARY + i for i, text in enumerate(added)}
    end = _NAMED["<|return|>"]
    vocabulary = Vocabulary(
        table=ExtendedTable(ordinary_tokens(), added),
        specials=specials,
        control_ids=frozenset(specials.values()),
        bos_id=_NAMED["<|startoftext|>"],
        eos_id=end,
        eos_ids=end_ids(specials, [end]),
        add_bos=False,
    )
    return Tokenizer(ordinary_tokens(), vocabulary)


def is_ordinary_part(spellings: Sequence[str], added: Collection[int]) -> bool:
    """Whether a vocabulary is o200k_base and the `added` ids after it, judged by its content."""
    if len(spellings) - len(added) != NUM_ORDINARY or min(added, default=0) < NUM_ORDINARY:
        return False
    text = "\n".join(spellings[:NUM_ORDINARY]) + "\n"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() == _SPELLINGS_SHA256


def extended(vocabulary: Vocabulary, spellings: Sequence[str]) -> Tokenizer:
    """A tokenizer of o200k_base and what a file adds to it; its merges are not needed."""
    table = ExtendedTable(ordinary_tokens(), spellings[NUM_ORDINARY:])
    return Tokenizer(ordinary_tokens(), replace(vocabulary, table=table))
