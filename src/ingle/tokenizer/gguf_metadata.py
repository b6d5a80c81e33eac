"""Owns reading a vocabulary out of GGUF metadata (``tokenizer.ggml.*``).

Keys as in the GGUF specification, "Tokenizer". It takes any mapping, and does not know files.
Everything is checked before it is used: metadata may be hostile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

from ingle.errors import FileFormatError, UnsupportedError
from ingle.tokenizer import o200k
from ingle.tokenizer.merges import MergeEncoder, merge_pairs
from ingle.tokenizer.splits import SPLITS, Split
from ingle.tokenizer.tokenizer import Tokenizer
from ingle.tokenizer.vocabulary import (
    MAX_TOKENS,
    SpelledTable,
    Vocabulary,
    check_specials,
    end_ids,
)

_PREFIX = "tokenizer.ggml."
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")


def from_gguf_metadata(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a GGUF file's metadata describes.

    Raises FileFormatError for damaged metadata, UnsupportedError for a vocabulary that is not
    byte-level BPE or for an unknown pre-tokenizer.
    """
    _check_model(metadata)
    tokens = _strings(metadata, "tokens")
    if not tokens or len(tokens) > MAX_TOKENS:
        rule = f"a vocabulary has 1 to {MAX_TOKENS} tokens, but got {len(tokens)}"
        raise FileFormatError(_PREFIX + "tokens", rule)
    kinds = _kinds(metadata, len(tokens))
    if o200k.is_ordinary_part(tokens, kinds):  # some converters leave the pre-tokenizer out
        return o200k.extended(_vocabulary(metadata, SPLITS["gpt-4o"], tokens, kinds), tokens)
    split = _split(metadata)
    vocabulary = _vocabulary(metadata, split, tokens, kinds)
    spellings = _spellings(tokens, kinds)
    merges = merge_pairs(_PREFIX + "merges", _strings(metadata, "merges"))
    return Tokenizer(MergeEncoder(_PREFIX + "merges", spellings, merges, split), vocabulary)


def _check_model(metadata: Mapping[str, Any]) -> None:
    model = metadata.get(_PREFIX + "model")
    if model is None:
        raise FileFormatError(_PREFIX + "model", "the file names its tokenizer, but got none")
    if not isinstance(model, str) or model != "gpt2":
        rule = f"byte-level BPE (gpt2) is supported, but got {model!r:.80}"
        raise UnsupportedError(_PREFIX + "model", rule)


def _split(metadata: Mapping[str, Any]) -> Split:
    pre = metadata.get(_PREFIX + "pre", "gpt-2")
    split = SPLITS.get(pre) if isinstance(pre, str) else None
    if split is None:
        rule = f"the pre-tokenizer is one of {', '.join(SPLITS)}, but got {pre!r:.80}"
        hint = "use the model's tokenizer.json, or convert the file again with a current converter"
        raise UnsupportedError(_PREFIX + "pre", rule, hint)
    return split


def _strings(metadata: Mapping[str, Any], name: str) -> list[str]:
    """A whole array of strings, its elements checked."""
    values = _array(metadata, name)
    if values is None:
        raise FileFormatError(_PREFIX + name, "the file lists it, but got no such key")
    try:
        strings = list(values)
    except UnicodeDecodeError as error:
        rule = f"strings are UTF-8, but got byte 0x{error.object[error.start]:02x}"
        raise FileFormatError(_PREFIX + name, rule) from None
    if strings and set(map(type, strings)) != {str}:
        raise FileFormatError(_PREFIX + name, "it is an array of strings, but got other types")
    return strings


def _array(metadata: Mapping[str, Any], name: str) -> Sequence[Any] | None:
    values = metadata.get(_PREFIX + name)
    if values is None:
        return None
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise FileFormatError(_PREFIX + name, f"it is an array, but got {values!r:.80}")
    return values  # type: ignore[no-any-return]


def _kinds(metadata: Mapping[str, Any], count: int) -> dict[int, int]:
    """Id -> type of the tokens that are not ordinary; without types, the named ones are control."""
    values = _array(metadata, "token_type")
    if values is None:
        return {
            i: _CONTROL
            for i in (_id(metadata, "bos_token_id", count), *_ends(metadata, count))
            if i is not None
        }
    if len(values) != count:
        rule = f"there is one type per token ({count}), but got {len(values)}"
        raise FileFormatError(_PREFIX + "token_type", rule)
    import numpy as np

    try:
        kinds = np.asarray(values)
    except ValueError:  # lists of several lengths
        kinds = np.empty((0, 0))
    if kinds.ndim != 1 or kinds.dtype.kind not in "iu":
        raise FileFormatError(_PREFIX + "token_type", "types are integers, but got other values")
    wrong = kinds[(kinds < _NORMAL) | (kinds > _BYTE)]
    if len(wrong):
        raise FileFormatError(_PREFIX + "token_type", f"types are 1 to 6, but got {wrong[0]}")
    odd_ids = np.flatnonzero((kinds != _NORMAL) & (kinds != _BYTE))
    return dict(zip(odd_ids.tolist(), kinds[odd_ids].tolist(), strict=True))


def _vocabulary(
    metadata: Mapping[str, Any], split: Split, tokens: list[str], kinds: dict[int, int]
) -> Vocabulary:
    specials: dict[str, int] = {}
    for i, kind in kinds.items():
        if kind != _UNUSED and specials.setdefault(tokens[i], i) != i:
            rule = f"special tokens differ, but got {tokens[i]!r:.80} for {specials[tokens[i]]}"
            raise FileFormatError(_PREFIX + "tokens", f"{rule} and {i}")
    check_specials(_PREFIX + "tokens", specials)
    bos = _id(metadata, "bos_token_id", len(tokens))
    return Vocabulary(
        table=SpelledTable(tokens, kinds),
        specials=specials,
        control_ids=frozenset(i for i, kind in kinds.items() if kind in (_UNKNOWN, _CONTROL)),
        bos_id=bos,
        eos_id=_id(metadata, "eos_token_id", len(tokens)),
        eos_ids=end_ids(specials, _ends(metadata, len(tokens))),
        add_bos=_flag(metadata, "add_bos_token", split.adds_bos) and bos is not None,
    )


def _spellings(tokens: list[str], kinds: Mapping[int, int]) -> dict[str, int]:
    """Spelling -> id of the tokens that ordinary text may become."""
    spellings = dict(zip(tokens, range(len(tokens)), strict=True))
    for i in kinds:
        if spellings.get(tokens[i]) == i:
            del spellings[tokens[i]]
    if len(spellings) != len(tokens) - len(kinds):
        twice = _first_repeated(tokens)
        raise FileFormatError(_PREFIX + "tokens", f"tokens differ, but got {twice!r:.80} twice")
    return spellings


def _first_repeated(tokens: list[str]) -> str:
    seen: set[str] = set()
    for token in tokens:
        if token in seen:
            return token
        seen.add(token)
    return ""


def _ends(metadata: Mapping[str, Any], count: int) -> list[int]:
    """Ids that the file says end a text."""
    single = [i for key in _END_KEYS if (i := _id(metadata, key, count)) is not None]
    values = _array(metadata, "eos_token_ids")
    if values is None:
        return single
    if len(values) > count:
        rule = f"at most {count} ids end a text, but got {len(values)}"
        raise FileFormatError(_PREFIX + "eos_token_ids", rule)
    return single + [_checked_id("eos_token_ids", value, count) for value in values]


def _id(metadata: Mapping[str, Any], name: str, count: int) -> int | None:
    value = metadata.get(_PREFIX + name)
    return None if value is None else _checked_id(name, value, count)


def _checked_id(name: str, value: Any, count: int) -> int:
    try:
        token_id = index(value)
    except TypeError:
        token_id = -1
    if isinstance(value, bool) or not 0 <= token_id < count:
        rule = f"a token id lies in 0..{count - 1}, but got {value!r:.80}"
        raise FileFormatError(_PREFIX + name, rule)
    return token_id


def _flag(metadata: Mapping[str, Any], name: str, default: bool) -> bool:
    value = metadata.get(_PREFIX + name, default)
    if not isinstance(value, bool):
        raise FileFormatError(_PREFIX + name, f"it is true or false, but got {value!r:.80}")
    return value
