"""The embedded o200k_harmony vocabulary. Oracle: tiktoken, and OpenAI's digest of the ranks.

`python tests/unit/test_tokenizer_o200k.py TOKENIZER_JSON [TEXT ...]` compares several megabytes
with `tokenizers` reading gpt-oss's own tokenizer.json, too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import sys
import sysconfig
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle._native import O200kEncoder
from ingle.errors import IngleError
from ingle.tokenizer import from_gguf_metadata, o200k_harmony
from ingle.tokenizer.o200k import NUM_ORDINARY

PATTERN = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # noqa: E501
RANKS_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
SPECIALS = {  # tokenizer_config.json of openai/gpt-oss-20b
    "<|startoftext|>": 199998, "<|endoftext|>": 199999, "<|reserved_200000|>": 200000,
    "<|reserved_200001|>": 200001, "<|return|>": 200002, "<|constrain|>": 200003,
    "<|reserved_200004|>": 200004, "<|channel|>": 200005, "<|start|>": 200006, "<|end|>": 200007,
    "<|message|>": 200008, "<|reserved_200009|>": 200009, "<|reserved_200010|>": 200010,
    "<|reserved_200011|>": 200011, "<|call|>": 200012, "<|reserved_200013|>": 200013,
    "<|reserved_200014|>": 200014, "<|reserved_200015|>": 200015, "<|reserved_200016|>": 200016,
    "<|reserved_200017|>": 200017, "<|endofprompt|>": 200018,
}  # fmt: skip

# What the pattern treats apart, for texts in which every alternative meets every other.
PIECES = (
    "a", "b", "Z", "É", "é", "ǅ", "ʰ", "日", "ا", "e\u0301", "\u0301", "\u0903", "1", "٣", "Ⅷ",
    " ", "  ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u2028", "\u0085", "\u3000", "/", "//", "'",
    "'s", "'S", "'ſ", "'LL", "'re", "'Ve", "'m", "'d", "'t", "’s", "!", "…", "😀", "👩‍👩‍👧", "\x00",
    "\u200d", "\ufeff", "\ufffd", "\ue000", "\U000e0001", "ᾈ", "ß", "\U0001d400",
)  # fmt: skip

tokenizer = o200k_harmony()


@pytest.fixture(scope="module")
def oracle() -> tiktoken.Encoding:
    return make_oracle()


def make_oracle() -> tiktoken.Encoding:
    ranks = {tokenizer.token_bytes(i): i for i in range(NUM_ORDINARY)}
    return tiktoken.Encoding(
        "o200k_harmony", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=SPECIALS
    )


def mixed_texts(scale: int) -> Iterator[str]:
    """About 250 kB x scale: alphabets, emoji, marks, spaces, code, broken UTF-8."""
    rng = random.Random(7)
    letters = [chr(i) for i in range(0x20, 0x30000) if unicodedata.category(chr(i))[0] != "C"]
    for _ in range(scale):
        yield "".join(rng.choices(PIECES, k=20_000))
        yield "".join(rng.choices(letters, k=10_000))
        yield unicodedata.normalize("NFD", "".join(rng.choices(letters[:2000], k=10_000)))
        yield rng.randbytes(30_000).decode("utf-8", "replace")
        start = rng.randrange(0x20, 0x1F000)
        block = [chr(i) for i in range(start, start + 300) if not 0xD800 <= i < 0xE000]
        yield "".join(rng.choices([*block, " "], k=10_000))
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.glob("*.py"))[: 5 * scale]:
        yield path.read_text("utf-8", "replace")


def test_ordinary_tokens_are_openais() -> None:
    digest = hashlib.sha256()
    for i in range(NUM_ORDINARY):
        digest.update(base64.b64encode(tokenizer.token_bytes(i)) + b" %d\n" % i)
    assert digest.hexdigest() == RANKS_SHA256


def test_facts() -> None:
    assert tokenizer.vocab_size == 201_088
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.add_bos) == (199998, 200002, False)
    assert tokenizer.eos_ids == {199999, 200002, 200012}
    assert SPECIALS.items() <= tokenizer.special_tokens.items()
    assert sorted(tokenizer.special_tokens.values()) == list(range(199998, 201088))
    assert tokenizer.special_tokens["<|reserved_201087|>"] == 201087
    assert tokenizer.token_bytes(200006) == b"<|start|>"
    for outside in (-1, 201_088):
        with pytest.raises(IngleError):
            tokenizer.token_bytes(outside)


def test_every_character_between_letters(oracle: tiktoken.Encoding) -> None:
    characters = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    for frame in ("{}a", "A{}", "1{} ", " {}\n"):
        text = "".join(map(frame.format, characters))
        assert tokenizer.encode(text) == oracle.encode_ordinary(text)


@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text())
def test_any_text_has_the_ids_of_tiktoken(text: str) -> None:
    assert tokenizer.encode(text) == make_oracle_once().encode_ordinary(text)


def make_oracle_once(cache: list[tiktoken.Encoding] = []) -> tiktoken.Encoding:  # noqa: B006
    if not cache:
        cache.append(make_oracle())
    return cache[0]


def test_mixed_text_has_the_ids_of_tiktoken(oracle: tiktoken.Encoding) -> None:
    for text in mixed_texts(2):
        assert tokenizer.encode(text) == oracle.encode_ordinary(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.slow
def test_megabytes_of_mixed_text_have_the_ids_of_tiktoken(oracle: tiktoken.Encoding) -> None:
    for text in mixed_texts(25):
        assert tokenizer.encode(text) == oracle.encode_ordinary(text)


def test_rendered_text_has_the_ids_of_tiktoken(oracle: tiktoken.Encoding) -> None:
    text = "<|start|>user<|message|>hi <|end|><|end|<|return|>'s\n<|call|>"
    assert tokenizer.encode_with_specials(text) == oracle.encode(text, allowed_special="all")
    assert tokenizer.encode(text) == oracle.encode_ordinary(text)


@pytest.mark.parametrize("text", ["a" * 300_000, " " * 300_000, "ab" * 150_000, "\u0301" * 99_999])
def test_long_runs(text: str, oracle: tiktoken.Encoding) -> None:
    assert tokenizer.encode(text) == oracle.encode_ordinary(text)


@settings(deadline=None)
@given(st.lists(st.integers(0, 201_087)))
def test_decoding_step_by_step_equals_decoding_at_once(ids: list[int]) -> None:
    decoder = tokenizer.decoder()
    parts = [decoder.feed(i) for i in ids]
    assert "".join(parts) + decoder.finish() == tokenizer.decode(ids)


def test_threads_share_a_tokenizer() -> None:
    texts = list(mixed_texts(1))[:5]
    expected = [tokenizer.encode(text) for text in texts]
    found: dict[int, list[int]] = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: tokenizer.encode(texts[i])}))
        for i in range(len(texts))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(len(texts))] == expected


def gguf_metadata(change: Callable[[list[str]], None]) -> dict[str, object]:
    """As in gpt-oss-20b's GGUF, but without its merges: they are not needed."""
    alphabet = byte_alphabet()
    tokens = ["".join(alphabet[b] for b in tokenizer.token_bytes(i)) for i in range(NUM_ORDINARY)]
    tokens += [text for text, _ in sorted(SPECIALS.items(), key=lambda item: item[1])]
    tokens += [f"[PAD{i}]" for i in range(200_019, 201_088)]
    change(tokens)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-4o",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * NUM_ORDINARY + [3] * 21 + [5] * 1069,
        "tokenizer.ggml.merges": ["Ġ Ġ"],
        "tokenizer.ggml.bos_token_id": 199998,
        "tokenizer.ggml.eos_token_id": 200002,
    }


def byte_alphabet() -> dict[int, str]:
    """GPT-2's bytes_to_unicode."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


@pytest.mark.parametrize("pre", ["gpt-4o", "default"])
def test_gguf_metadata_is_recognised_by_content(pre: str) -> None:
    found = from_gguf_metadata(gguf_metadata(lambda tokens: None) | {"tokenizer.ggml.pre": pre})
    text = "приветМир <|end|> don't 12345\n\n"
    assert found.encode(text) == tokenizer.encode(text)
    assert dict(found.special_tokens) == SPECIALS
    assert found.eos_ids == tokenizer.eos_ids
    assert found.vocab_size == 201_088
    assert found.token_bytes(201_087) == b"[PAD201087]"
    assert found.decode([200006, 1428, 200008]) == "<|start|>user<|message|>"


def test_another_vocabulary_is_not_mistaken() -> None:
    def swap(tokens: list[str]) -> None:
        tokens[777], tokens[778] = tokens[778], tokens[777]

    found = from_gguf_metadata(gguf_metadata(swap))
    assert found.token_bytes(777) == tokenizer.token_bytes(778)
    assert len(found.encode("helloworldly")) == len("helloworldly")  # its merges make no letters


@pytest.mark.parametrize(
    ("lengths", "blob", "classes"),
    [
        (b"", b"", bytes(0x110000)),
        (b"\x01" * 256, bytes(range(256)), b""),
        (b"\x01" * 256, bytes(range(255)), bytes(0x110000)),
        (b"\x01" * 256, bytes(256), bytes(0x110000)),
        (b"\x00" + b"\x01" * 256, bytes(range(256)), bytes(0x110000)),
    ],
)
def test_native_code_refuses_tables_that_do_not_fit(
    lengths: bytes, blob: bytes, classes: bytes
) -> None:
    with pytest.raises(ValueError, match=r"token|byte|class"):
        O200kEncoder(lengths, blob, classes)


def test_native_code_survives_what_is_not_utf8() -> None:
    every_byte = O200kEncoder(b"\x01" * 256, bytes(range(256)), bytes(0x110000))
    rng = random.Random(3)
    for _ in range(300):
        text = bytes(rng.choices([*range(0x7E, 0x100), 0x20], k=rng.randrange(40)))
        assert bytes(every_byte.encode(text)) == text


def main(tokenizer_json: str, *texts: str) -> None:
    from tokenizers import Tokenizer

    library = Tokenizer.from_file(tokenizer_json)
    theirs = make_oracle()
    total = 0
    everything = [*mixed_texts(20), *(Path(text).read_text("utf-8") for text in texts)]
    for text in everything:
        ids = tokenizer.encode(text)
        if ids != theirs.encode_ordinary(text):
            sys.exit(f"tiktoken differs: {text[:60]!r}")
        library.encode_special_tokens = True
        if ids != library.encode(text, add_special_tokens=False).ids:
            sys.exit(f"tokenizers differs: {text[:60]!r}")
        total += len(text.encode())
    print(json.dumps({"bytes": total, "texts": len(everything), "equal": True}))


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    main(*sys.argv[1:])
