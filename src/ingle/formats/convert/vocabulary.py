"""Owns a tokenizer on its way between `tokenizer.json` and GGUF's `tokenizer.ggml.*` keys.

Byte-level BPE only. The keys are those llama.cpp's converter writes; ids without a token are
`[PADn]` of type 5. It does not encode text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats.gguf_strings import StringArray
from ingle.formats.json_file import read_json_object
from ingle.formats.mapping import quoted
from ingle.tokenizer import o200k_harmony
from ingle.tokenizer.byte_level import CHAR_TO_BYTE
from ingle.tokenizer.o200k import NUM_ORDINARY, VOCAB_SIZE
from ingle.tokenizer.splits import SPLITS

MAX_TOKENIZER_BYTES = 1 << 26
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
_PREFIX = "tokenizer.ggml."
_LAST_NAMED = 200018
_ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
_SPELLING = {byte: character for character, byte in CHAR_TO_BYTE.items()}


def keys_from_folder(folder: Path, vocab_size: int) -> dict[str, Any]:
    """GGUF keys of the tokenizer in a Hugging Face folder; none when it has no tokenizer.json.

    Raises UnsupportedError when it is not byte-level BPE with a known pre-tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return {}
    tokenizer = read_json_object(path, MAX_TOKENIZER_BYTES)
    settings = _optional(folder / "tokenizer_config.json")
    model = tokenizer.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE":
        raise UnsupportedError(str(path), "tokenizer must be byte-level BPE, but got another model")
    ids, kinds = _ids(path, model, tokenizer.get("added_tokens") or [], vocab_size)
    tokens = [f"[PAD{i}]" for i in range(vocab_size)]
    for text, token_id in ids.items():
        tokens[token_id] = text
    template = _template(folder, settings)
    return {
        _PREFIX + "model": "gpt2",
        _PREFIX + "pre": _pre(path, tokenizer.get("pre_tokenizer")),
        _PREFIX + "tokens": tokens,
        _PREFIX + "token_type": [kinds.get(i, _UNUSED) for i in range(vocab_size)],
        _PREFIX + "merges": _merges(path, model.get("merges")),
        **_role_ids(settings, _optional(folder / "config.json"), ids),
        **_flags(settings),
        **({"tokenizer.chat_template": template} if template else {}),
    }


def keys_of_o200k_harmony() -> dict[str, Any]:
    """GGUF keys of gpt-oss' public vocabulary.

    Merges are every way to cut a token in two tokens, in the order of the ranks (as llama.cpp's
    and Hugging Face's converters derive them).
    """
    tokenizer = o200k_harmony()
    ordinary = [tokenizer.token_bytes(i) for i in range(NUM_ORDINARY)]
    ranks = {token: i for i, token in enumerate(ordinary)}
    merges: list[str] = []
    for token in ordinary:
        cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [(ranks[a], ranks[b]) for a, b in cuts if a in ranks and b in ranks]
        merges += (f"{_spelled(ordinary[a])} {_spelled(ordinary[b])}" for a, b in sorted(known))
    named = {i: tokenizer.token_bytes(i).decode() for i in range(NUM_ORDINARY, _LAST_NAMED + 1)}
    specials = {text: i for i, text in named.items()}
    added = [named.get(i, f"[PAD{i}]") for i in range(NUM_ORDINARY, VOCAB_SIZE)]
    kinds = [_CONTROL if i in named else _UNUSED for i in range(NUM_ORDINARY, VOCAB_SIZE)]
    return {
        _PREFIX + "model": "gpt2",
        _PREFIX + "pre": "gpt-4o",
        _PREFIX + "tokens": [_spelled(token) for token in ordinary] + added,
        _PREFIX + "token_type": [_NORMAL] * NUM_ORDINARY + kinds,
        _PREFIX + "merges": merges,
        _PREFIX + "bos_token_id": specials["<|startoftext|>"],
        _PREFIX + "eos_token_id": specials["<|return|>"],
        _PREFIX + "padding_token_id": specials["<|endoftext|>"],
    }


def folder_from_keys(keys: Mapping[str, Any]) -> dict[str, str]:
    """File name -> text of a Hugging Face tokenizer; nothing when GGUF holds none it can say."""
    tokens, merges = keys.get(_PREFIX + "tokens"), keys.get(_PREFIX + "merges")
    split = SPLITS.get(str(keys.get(_PREFIX + "pre", "gpt-2")))
    if keys.get(_PREFIX + "model") != "gpt2" or tokens is None or merges is None or split is None:
        return {}
    texts, kinds = _listed(tokens), keys.get(_PREFIX + "token_type", [])
    types = list(kinds) if len(kinds) == len(texts) else [_NORMAL] * len(texts)
    from tokenizers import AddedToken, Tokenizer, decoders, models

    used = {text: i for i, text in enumerate(texts) if types[i] != _UNUSED}
    pairs = [(left, right) for left, _, right in (m.partition(" ") for m in _listed(merges))]
    try:
        bpe = models.BPE(used, pairs, ignore_merges=split.ignore_merges)
    except Exception as error:  # the library raises nothing narrower
        raise FileFormatError(
            _PREFIX + "merges", f"merges must fit: {quoted(str(error))}"
        ) from None
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = split.build()
    tokenizer.decoder = decoders.ByteLevel()
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        chosen = [text for text, i in used.items() if types[i] == kind]
        tokenizer.add_special_tokens(
            [AddedToken(text, special=special, normalized=False) for text in chosen]
        )
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    for name, role in _ROLES.items():
        token_id = keys.get(f"{_PREFIX}{role}_token_id")
        if isinstance(token_id, int) and 0 <= token_id < len(texts):
            settings[f"{name}_token"] = texts[token_id]
    if isinstance(keys.get("tokenizer.chat_template"), str):
        settings["chat_template"] = keys["tokenizer.chat_template"]
    return {
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps(settings, indent=1, ensure_ascii=False),
    }


def _spelled(token: bytes) -> str:
    return "".join(map(_SPELLING.__getitem__, token))


def _listed(strings: StringArray | list[str]) -> list[str]:
    return strings.strings() if isinstance(strings, StringArray) else strings


def _optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _ids(
    path: Path, model: Mapping[str, Any], added: Any, vocab_size: int
) -> tuple[dict[str, int], dict[int, int]]:
    """Token -> id, and id -> type."""
    vocabulary = model.get("vocab")
    whole = isinstance(added, list) and all(
        isinstance(token, dict) and type(token.get("id")) is int for token in added
    )
    if not isinstance(vocabulary, dict) or not whole:
        raise FileFormatError(str(path), "vocab must be an object, added_tokens a list of them")
    ids: dict[str, int] = {**vocabulary}
    ids |= {str(token.get("content")): token["id"] for token in added}
    if not _are_ids(ids, vocab_size) or len(set(ids.values())) != len(ids):
        rule = f"token ids must be unique and below vocab_size {vocab_size}, but got others"
        raise FileFormatError(str(path), rule)
    kinds = dict.fromkeys(vocabulary.values(), _NORMAL)
    for token in added:
        kinds[token["id"]] = _CONTROL if token.get("special") is True else _USER_DEFINED
    return ids, kinds


def _are_ids(ids: Mapping[str, Any], vocab_size: int) -> bool:
    return all(type(i) is int and 0 <= i < vocab_size for i in ids.values())


def _merges(path: Path, merges: Any) -> list[str]:
    if isinstance(merges, list):
        texts = [
            merge if isinstance(merge, str) else " ".join(merge)
            for merge in merges
            if isinstance(merge, str)
            or (isinstance(merge, list) and len(merge) == 2 and all(type(m) is str for m in merge))
        ]
        if len(texts) == len(merges):
            return texts
    raise FileFormatError(str(path), "merges must be pairs of strings, but got something else")


def _pre(path: Path, pre_tokenizer: Any) -> str:
    """GGUF's name of a pre-tokenizer, found by what it does."""
    steps = [pre_tokenizer] if isinstance(pre_tokenizer, dict) else []
    if steps and isinstance(steps[0].get("pretokenizers"), list):
        steps = [step for step in steps[0]["pretokenizers"] if isinstance(step, dict)]
    kinds = {str(step.get("type")): step for step in steps}
    digits = kinds.get("Digits", {}).get("individual_digits", False)
    pattern = kinds.get("Split", {}).get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    if kinds.keys() <= {"Digits", "Split", "ByteLevel"} and "ByteLevel" in kinds:
        for name, split in SPLITS.items():
            if (split.pattern, split.single_digits) == (regex, digits):
                return name
    raise UnsupportedError(
        str(path),
        f"pre-tokenizer must be one of {', '.join(SPLITS)}, but got {quoted(str(pre_tokenizer))}",
    )


def _role_ids(
    settings: Mapping[str, Any], config: Mapping[str, Any], ids: Mapping[str, int]
) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, role in _ROLES.items():
        token = settings.get(f"{name}_token")
        text = token.get("content") if isinstance(token, dict) else token
        stated = config.get(f"{name}_token_id")
        token_id = ids.get(text) if isinstance(text, str) else None
        token_id = stated if token_id is None else token_id
        if type(token_id) is int and token_id in ids.values():
            found[f"{_PREFIX}{role}_token_id"] = token_id
    return found


def _flags(settings: Mapping[str, Any]) -> dict[str, bool]:
    return {
        f"{_PREFIX}add_{role}_token": settings.get(f"add_{role}_token") is True
        for role in ("bos", "eos")
    }


def _template(folder: Path, settings: Mapping[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    if path.is_file() and path.stat().st_size < 1 << 20:
        return path.read_text(encoding="utf-8", errors="replace")
    template = settings.get("chat_template")
    return template if isinstance(template, str) else ""
