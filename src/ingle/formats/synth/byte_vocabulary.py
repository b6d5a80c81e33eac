"""Owns the vocabulary of synthetic models whose own is not at hand: bytes, and Harmony's marks.

It is complete (every text encodes) and valid for every reader of GGUF; other ids are unused.
"""

from __future__ import annotations

from typing import Any

from ingle.tokenizer.byte_level import CHAR_TO_BYTE

VOCAB_SIZE = 288
"""Of the tiny models."""

_PREFIX = "tokenizer.ggml."
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5
_SPELLINGS = sorted(CHAR_TO_BYTE, key=CHAR_TO_BYTE.__getitem__)
_SPACE = _SPELLINGS[0x20]
_NAMES = (
    "<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>",
    "<|end|>", "<|message|>", "<|call|>",
)  # fmt: skip
_ORDINARY = [*_SPELLINGS, 2 * _SPACE]  # llama.cpp wants a list of merges that is not empty
START_ID, END_ID, RETURN_ID = (
    len(_ORDINARY) + _NAMES.index(name)
    for name in ("<|startoftext|>", "<|endoftext|>", "<|return|>")
)


def keys(vocab_size: int, eos_id: int = END_ID) -> dict[str, Any]:
    """GGUF keys of the vocabulary, filled up to `vocab_size` (at least 288) with unused ids."""
    tokens = [*_ORDINARY, *_NAMES]
    padding = [f"[PAD{i}]" for i in range(len(tokens), vocab_size)]
    kinds = [_NORMAL] * len(_ORDINARY) + [_CONTROL] * len(_NAMES) + [_UNUSED] * len(padding)
    return {
        _PREFIX + "model": "gpt2",
        _PREFIX + "pre": "gpt-2",
        _PREFIX + "tokens": tokens + padding,
        _PREFIX + "token_type": kinds,
        _PREFIX + "merges": [f"{_SPACE} {_SPACE}"],
        _PREFIX + "bos_token_id": START_ID,
        _PREFIX + "eos_token_id": eos_id,
        _PREFIX + "padding_token_id": END_ID,
        _PREFIX + "add_bos_token": False,
    }
