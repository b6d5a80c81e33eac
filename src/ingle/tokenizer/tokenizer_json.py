"""Owns reading Hugging Face's tokenizer.json, and the two small files that lie beside it.

Byte-level BPE only. tokenizer_config.json names bos and eos, generation_config.json the ids that
end a generation; both may be missing. Everything is checked: files may be hostile.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.tokenizer import byte_level, o200k
from ingle.tokenizer.merges import MergeEncoder, merge_pairs
from ingle.tokenizer.splits import SPLITS, Split, split_from_json, steps_of
from ingle.tokenizer.tokenizer import Tokenizer
from ingle.tokenizer.vocabulary import (
    MAX_TOKENS,
    SpelledTable,
    Vocabulary,
    check_specials,
    end_ids,
)

MAX_FILE_BYTES = 32 << 20
_OFF = (None, False, "", 0, 0.0)
_MUST_BE_OFF = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
_FLAGS = ("single_word", "lstrip", "rstrip")


def from_tokenizer_json(path: str | Path) -> Tokenizer:
    """The tokenizer of a Hugging Face checkpoint; `path` names its tokenizer.json.

    gpt-oss's own file is known by its digest and not parsed. Raises FileFormatError for damaged
    files, UnsupportedError for what is not byte-level BPE with a known pattern.
    """
    path = Path(path)
    content = _read(path)
    if hashlib.sha256(content).hexdigest() == o200k.TOKENIZER_JSON_SHA256:
        return o200k.o200k_harmony()
    root = _parse(path, content)
    beside = _Beside(
        _parse_if_there(path.with_name("tokenizer_config.json")),
        _parse_if_there(path.with_name("generation_config.json")),
    )
    try:
        return _tokenizer(root, beside)
    except IngleError as error:
        where = error.where if ".json: " in error.where else f"{path.name}: {error.where}"
        raise type(error)(where, error.rule, error.hint) from None


@dataclass(frozen=True)
class _Beside:
    """The objects of tokenizer_config.json and generation_config.json, empty when missing."""

    tokenizer_config: Mapping[str, Any]
    generation_config: Mapping[str, Any]


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            rule = f"the file has at most {MAX_FILE_BYTES} bytes, but got {size}"
            raise FileFormatError(path.name, rule)
        return path.read_bytes()
    except OSError as error:
        rule = f"the file can be read, but got {error.strerror}"
        raise FileFormatError(str(path), rule) from None


def _parse(path: Path, content: bytes) -> Mapping[str, Any]:
    try:
        root = json.loads(content)
    except (ValueError, RecursionError, MemoryError) as error:
        rule = f"the file is JSON, but got: {type(error).__name__}: {error!s:.200}"
        raise FileFormatError(path.name, rule) from None
    if not isinstance(root, Mapping):
        raise FileFormatError(path.name, f"the file holds an object, but got {root!r:.80}")
    return root


def _parse_if_there(path: Path) -> Mapping[str, Any]:
    return _parse(path, _read(path)) if path.is_file() else {}


def _tokenizer(root: Mapping[str, Any], beside: _Beside) -> Tokenizer:
    model = _model(root)
    vocab = _ids(model.get("vocab"))
    added = _added_tokens(root.get("added_tokens"))
    tokens = _tokens(vocab, added)
    vocabulary = _vocabulary(root, beside, tokens, added)
    split = replace(split_from_json(root), ignore_merges=model.get("ignore_merges") is True)
    if split == SPLITS["gpt-4o"] and o200k.is_ordinary_part(tokens, _literal(tokens, vocab, added)):
        return o200k.extended(vocabulary, tokens)
    return Tokenizer(_encoder(model, vocab, added, split), vocabulary)


def _encoder(
    model: Mapping[str, Any], vocab: dict[str, int], added: Iterable[_Added], split: Split
) -> MergeEncoder:
    for token in added:
        vocab.pop(token.content, None)
    if model.get("unk_token") is not None and not byte_level.CHAR_TO_BYTE.keys() <= vocab.keys():
        rule = "a vocabulary with an unknown token spells every byte, but got one that does not"
        raise UnsupportedError("model.vocab", rule)
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise FileFormatError("model.merges", f"it is a list, but got {merges!r:.80}")
    return MergeEncoder("model.merges", vocab, merge_pairs("model.merges", merges), split)


def _model(root: Mapping[str, Any]) -> Mapping[str, Any]:
    model = root.get("model")
    if not isinstance(model, Mapping):
        raise FileFormatError("model", f"it is an object, but got {model!r:.80}")
    decoder = root.get("decoder")
    kinds = (
        model.get("type", "BPE"),
        decoder.get("type") if isinstance(decoder, Mapping) else None,
    )
    if kinds != ("BPE", "ByteLevel"):
        rule = f"model and decoder are BPE and ByteLevel, but got {kinds!r:.80}"
        raise UnsupportedError("model", rule)
    for option in _MUST_BE_OFF:
        if model.get(option) not in _OFF:
            rule = f"it is off, but got {model[option]!r:.80}"
            raise UnsupportedError(f"model.{option}", rule)
    return model


def _ids(vocab: Any) -> dict[str, int]:
    """A checked copy of the model's spellings and ids."""
    if not isinstance(vocab, dict) or not 0 < len(vocab) <= MAX_TOKENS:
        rule = f"it is an object of 1 to {MAX_TOKENS} tokens, but got {vocab!r:.80}"
        raise FileFormatError("model.vocab", rule)
    if set(map(type, vocab.values())) != {int}:
        raise FileFormatError("model.vocab", "ids are integers, but got other values")
    if len(set(vocab.values())) != len(vocab):
        raise FileFormatError("model.vocab", "ids differ, but got one twice")
    if min(vocab.values()) < 0 or max(vocab.values()) >= MAX_TOKENS:
        worst = max(vocab.values(), key=abs)
        rule = f"ids lie in 0..{MAX_TOKENS - 1}, but got {worst!r:.80}"
        raise FileFormatError("model.vocab", rule)
    return dict(vocab)


@dataclass(frozen=True)
class _Added:
    """A token that is found in a text before the text is cut. special: it is no text."""

    content: str
    token_id: int
    special: bool


def _added_tokens(entries: Any) -> list[_Added]:
    if not isinstance(entries, list):
        raise FileFormatError("added_tokens", f"it is a list, but got {entries!r:.80}")
    return [_added_token(f"added_tokens[{i}]", entry) for i, entry in enumerate(entries)]


def _added_token(where: str, entry: Any) -> _Added:
    if not isinstance(entry, Mapping):
        raise FileFormatError(where, f"it is an object, but got {entry!r:.80}")
    content, token_id, special = (entry.get(key) for key in ("content", "id", "special"))
    if type(token_id) is not int or not 0 <= token_id < MAX_TOKENS:
        rule = f"its id lies in 0..{MAX_TOKENS - 1}, but got {token_id!r:.80}"
        raise FileFormatError(where, rule)
    if not isinstance(content, str) or not isinstance(special, bool):
        raise FileFormatError(where, f"it has a content and special, but got {entry!r:.80}")
    for flag in _FLAGS:
        if entry.get(flag) not in _OFF:
            raise UnsupportedError(f"{where}.{flag}", "it is off, but got it on")
    return _Added(content, token_id, special)


def _tokens(vocab: Mapping[str, int], added: list[_Added]) -> list[str]:
    """Spellings by id; empty where the file leaves ids out."""
    count = 1 + max(*vocab.values(), *(token.token_id for token in added), 0)
    tokens = [""] * count
    for spelling, token_id in vocab.items():
        tokens[token_id] = spelling
    for token in added:
        known = vocab.get(token.content)
        if tokens[token.token_id] != token.content and (
            known is not None or tokens[token.token_id]
        ):
            rule = f"ids of added and other tokens differ, but got {token.token_id} twice"
            raise FileFormatError("added_tokens", rule)
        tokens[token.token_id] = token.content
    return tokens


def _literal(
    tokens: list[str], vocab: Mapping[str, int], added: Iterable[_Added]
) -> frozenset[int]:
    """Ids whose spelling is plain text: added tokens, and ids without any token."""
    holes = (i for i, spelling in enumerate(tokens) if not spelling)
    return frozenset(holes) | {token.token_id for token in added}


def _vocabulary(
    root: Mapping[str, Any], beside: _Beside, tokens: list[str], added: list[_Added]
) -> Vocabulary:
    specials = {token.content: token.token_id for token in added}
    if len(specials) != len(added):
        raise FileFormatError("added_tokens", "contents differ, but got one twice")
    check_specials("added_tokens", specials)
    first = _first_of_every_text(root.get("post_processor"))
    bos = _named(beside.tokenizer_config, "bos_token", specials)
    eos = _named(beside.tokenizer_config, "eos_token", specials)
    ends = [*([] if eos is None else [eos]), *_ends(beside.generation_config, len(tokens))]
    return Vocabulary(
        table=SpelledTable(tokens, specials.values()),
        specials=specials,
        control_ids=frozenset(token.token_id for token in added if token.special),
        bos_id=bos if first is None else specials.get(first, bos),
        eos_id=ends[0] if ends else None,
        eos_ids=end_ids(specials, ends),
        add_bos=first in specials,
    )


def _first_of_every_text(post_processor: Any) -> str | None:
    """The token that a template post-processor puts before a text."""
    for step in steps_of(post_processor, "processors"):
        single = step.get("single")
        first = single[0] if isinstance(single, list) and single else None
        token = first.get("SpecialToken") if isinstance(first, Mapping) else None
        if isinstance(token, Mapping) and isinstance(token.get("id"), str):
            return str(token["id"])
    return None


def _named(config: Mapping[str, Any], key: str, specials: Mapping[str, int]) -> int | None:
    """Id of a token that tokenizer_config.json names by its text."""
    value = config.get(key)
    text = value.get("content") if isinstance(value, Mapping) else value
    if text is None:
        return None
    if not isinstance(text, str) or text not in specials:
        rule = f"it is one of the added tokens, but got {text!r:.80}"
        raise FileFormatError(f"tokenizer_config.json: {key}", rule)
    return specials[text]


def _ends(config: Mapping[str, Any], count: int) -> list[int]:
    """Ids that generation_config.json says end a text."""
    value = config.get("eos_token_id")
    ids = value if isinstance(value, list) else [] if value is None else [value]
    for token_id in ids:
        if type(token_id) is not int or not 0 <= token_id < count:
            rule = f"ids lie in 0..{count - 1}, but got {token_id!r:.80}"
            raise FileFormatError("generation_config.json: eos_token_id", rule)
    return ids
