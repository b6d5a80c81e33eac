"""Tokenizers made from GGUF metadata. Oracle: the `tokenizers` library on the same vocabulary."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Oracle

from ingle.errors import FileFormatError, UnsupportedError
from ingle.tokenizer import from_gguf_metadata

# As published in each model's tokenizer.json (openai/gpt-oss-20b, Qwen/Qwen3-0.6B,
# meta-llama/Llama-3.2-1B), written out whole on purpose: the package composes them from parts.
PATTERNS = {
    "gpt-4o": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",  # noqa: E501
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",  # noqa: E501
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",  # noqa: E501
}
NAMES = ["gpt-2", "smollm", *PATTERNS]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

SAMPLES = [
    "", " ", "Hello world", "  two\n\n three\t\r\n", "it's I'LL we'Ve you'd 'S", "1234567 8,9 ٣٤٥",
    "приветМир ÀbcÉ देवनागरी e\u0301e\u0301 Å", "日本語テキスト 한국어 ไทย",
    "👩‍👩‍👧‍👦🏳️‍🌈 \u200d\ufeff",
    "a/b//c\n/d\r\r", "\u00a0\u3000\u2028x\u0085y", "ǅ ʰa ªº ⅷ ² ½",
    "def f(x):\n    return x**2  # ok\n",
    "\x00\x1f\x7f\x80", "<|im_start|>user<|im_end|>", "<|im_<|im_end|>",
]  # fmt: skip


def pre_tokenizer(name: str) -> pre_tokenizers.PreTokenizer:
    if name == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    cut = pre_tokenizers.Split(Regex(PATTERNS[name]), behavior="isolated")
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([cut, plain])


def make_oracle(name: str) -> Oracle:
    """A small vocabulary trained on this file and its neighbours."""
    oracle = Oracle(models.BPE(ignore_merges=name in ("llama-bpe", "gpt-4o")))
    oracle.pre_tokenizer = pre_tokenizer(name)
    oracle.decoder = decoders.ByteLevel()
    if name == "qwen2":
        oracle.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=alphabet, special_tokens=SPECIALS, show_progress=False
    )
    oracle.train_from_iterator([Path(json.__file__).read_text("utf-8"), *SAMPLES * 4], trainer)
    oracle.add_tokens([AddedToken("<think>", normalized=False)])
    return oracle


def gguf_metadata(name: str, oracle: Oracle) -> dict[str, Any]:
    model = json.loads(oracle.to_str())["model"]
    tokens = [oracle.id_to_token(i) for i in range(oracle.get_vocab_size())]
    types = [3] * len(SPECIALS) + [1] * (len(tokens) - len(SPECIALS) - 1) + [4]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array(types, dtype=np.int32),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


ORACLES = {name: make_oracle(name) for name in NAMES}
METADATA = {name: gguf_metadata(name, oracle) for name, oracle in ORACLES.items()}
TOKENIZERS = {name: from_gguf_metadata(metadata) for name, metadata in METADATA.items()}
text = st.text(max_size=60) | st.lists(st.sampled_from(SAMPLES)).map("".join)


@pytest.mark.parametrize("name", NAMES)
def test_rendered_text_has_the_ids_of_the_library(name: str) -> None:
    samples = [*SAMPLES, "".join(SAMPLES), Path(random.__file__).read_text("utf-8")]
    for sample in samples:
        expected = ORACLES[name].encode(sample, add_special_tokens=False).ids
        assert TOKENIZERS[name].encode_with_specials(sample) == expected, sample


@settings(deadline=None)
@given(name=st.sampled_from(NAMES), text=text)
def test_any_text_has_the_ids_of_the_library(name: str, text: str) -> None:
    expected = ORACLES[name].encode(text, add_special_tokens=False).ids
    assert TOKENIZERS[name].encode_with_specials(text) == expected


@settings(deadline=None)
@given(name=st.sampled_from(sorted({*NAMES} - {"qwen2"})), text=text)
def test_text_survives(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(deadline=None)
@given(name=st.sampled_from(NAMES), text=text, special=st.sampled_from([*SPECIALS, "<think>"]))
def test_ordinary_text_never_becomes_special(name: str, text: str, special: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(special + text + special)
    assert not set(ids) & set(tokenizer.special_tokens.values())


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 1199)), skip_special=st.booleans())
def test_decoding_step_by_step_equals_decoding_at_once(ids: list[int], skip_special: bool) -> None:
    tokenizer = TOKENIZERS["gpt-4o"]
    decoder = tokenizer.decoder(skip_special)
    parts = [decoder.feed(i) for i in ids]
    parts.append(decoder.finish())
    assert "".join(parts) == tokenizer.decode(ids, skip_special)


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 1199)))
def test_decoding_equals_the_library(ids: list[int]) -> None:
    assert TOKENIZERS["gpt-2"].decode(ids) == ORACLES["gpt-2"].decode(
        ids, skip_special_tokens=False
    )


def test_half_a_character_is_held_back() -> None:
    tokenizer = TOKENIZERS["gpt-2"]
    *first, last = tokenizer.encode("🦀")
    assert first
    decoder = tokenizer.decoder()
    assert "".join(decoder.feed(i) for i in first) == ""
    assert decoder.feed(last) == "🦀"
    assert decoder.finish() == ""
    assert "".join(decoder.feed(i) for i in first) + decoder.finish() == "\ufffd"


def test_facts() -> None:
    tokenizer = TOKENIZERS["smollm"]
    assert tokenizer.vocab_size == ORACLES["smollm"].get_vocab_size()
    assert dict(tokenizer.special_tokens) == {
        "<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2, "<think>": tokenizer.vocab_size - 1,
    }  # fmt: skip
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.add_bos) == (1, 2, False)
    assert tokenizer.eos_ids == {0, 2}
    assert tokenizer.control_ids == {0, 1, 2}
    think = tokenizer.special_tokens["<think>"]
    assert tokenizer.decode([1, think, 2], skip_special=True) == "<think>"
    assert TOKENIZERS["llama-bpe"].add_bos


def test_qwen_composes_characters() -> None:
    tokenizer = TOKENIZERS["qwen2"]
    assert tokenizer.decode(tokenizer.encode("e\u0301")) == "\u00e9"


def test_surrogates_count_as_replacement_characters() -> None:
    tokenizer = TOKENIZERS["gpt-2"]
    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")
    assert tokenizer.encode("\ud83d\ude00") == tokenizer.encode("😀")


def test_types_are_optional() -> None:
    metadata = dict(METADATA["gpt-2"])
    del metadata["tokenizer.ggml.token_type"]
    tokenizer = from_gguf_metadata(metadata)
    assert dict(tokenizer.special_tokens) == {"<|im_start|>": 1, "<|im_end|>": 2}


def test_listed_ends_count() -> None:
    metadata = METADATA["gpt-2"] | {"tokenizer.ggml.eos_token_ids": np.array([1, 7])}
    assert from_gguf_metadata(metadata).eos_ids == {0, 1, 2, 7}


class Undecodable(list):  # type: ignore[type-arg]
    """A lazy array whose strings are not UTF-8."""

    def __iter__(self) -> Any:
        return (bytes([200, 200]).decode() for _ in range(3))


TOKENS = METADATA["gpt-2"]["tokenizer.ggml.tokens"]
MERGES = METADATA["gpt-2"]["tokenizer.ggml.merges"]
DAMAGED: list[tuple[str, Any]] = [
    ("model", None), ("tokens", None), ("tokens", []), ("tokens", "abc"), ("tokens", 3),
    ("tokens", [*TOKENS[:-1], 7]), ("tokens", TOKENS[:-1]), ("tokens", [*TOKENS[:-1], TOKENS[9]]),
    ("tokens", [TOKENS[0], TOKENS[0], *TOKENS[2:]]), ("tokens", Undecodable(TOKENS)),
    ("tokens", ["", *TOKENS[1:]]), ("tokens", ["x" * 2000, *TOKENS[1:]]),
    ("token_type", [1]), ("token_type", [9] * len(TOKENS)), ("token_type", [[1]] * len(TOKENS)),
    ("token_type", [[1], [1, 2]] * (len(TOKENS) // 2)), ("token_type", [1.0] * len(TOKENS)),
    ("token_type", [3] * len(TOKENS)), ("token_type", ["1"] * len(TOKENS)), ("token_type", 1),
    ("merges", None), ("merges", [*MERGES, "zz qq"]), ("merges", ["a"]), ("merges", ["a b c"]),
    ("merges", [" a"]), ("merges", ["a "]), ("merges", [1]), ("merges", [("a", "b")]),
    ("merges", ["<|im_end|> <|im_end|>"]), ("merges", Undecodable(MERGES)),
    ("bos_token_id", len(TOKENS)), ("bos_token_id", -1), ("eos_token_id", "2"),
    ("eos_token_id", 1.5), ("eos_token_id", True), ("eot_token_id", 2**32 - 1),
    ("eos_token_ids", [len(TOKENS)]), ("eos_token_ids", [0] * (len(TOKENS) + 1)),
    ("add_bos_token", 1), ("model", "gpt9"), ("model", 5), ("pre", "tekken"), ("pre", ["gpt-2"]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), DAMAGED)
def test_damaged_metadata_gives_one_line(key: str, value: Any) -> None:
    metadata = METADATA["gpt-2"] | {f"tokenizer.ggml.{key}": value}
    if value is None:
        del metadata[f"tokenizer.ggml.{key}"]
    with pytest.raises((FileFormatError, UnsupportedError)) as caught:
        from_gguf_metadata(metadata)
    first, *hint = str(caught.value).split("\n")
    assert first.startswith("[tokenizer.ggml.")
    assert len(first) < 400
    assert all(line.startswith("hint: ") for line in hint)
