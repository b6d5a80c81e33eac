"""Fuzzing of what describes a tokenizer or a chat template; rules as in fuzz_containers.py.

    python tests/hostile/fuzz_tokenizers.py --count 10000 --seed 1
    python tests/hostile/fuzz_tokenizers.py --only template --case 4711

OPENERS may also be added to the targets of another fuzzer; it needs none of them to be run here.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import fuzz_containers

from ingle.chat.template import render_ids
from ingle.formats.gguf import GgufFile
from ingle.formats.writer import TensorSpec, write_gguf
from ingle.tokenizer import Tokenizer, from_gguf_metadata, from_tokenizer_json

LETTERS = [chr(i) for i in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
MERGES = [("a", "b"), ("ab", "c"), ("Ġ", "a"), ("Ġa", "b"), ("0", "0"), ("Ã", "©")]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>"]
TEMPLATE = """{%- macro show(m) %}<|im_start|>{{ m.role }}
{{ m['content'] | trim ~ loop_note }}<|im_end|>
{% endmacro %}
{%- set ns = namespace(count=0, text='') %}
{%- for m in messages if m.content is string %}
  {%- if loop.first and m.role != 'system' %}{{ bos_token + 'x' * 3 }}{% endif %}
  {%- set ns.count = ns.count + 1 %}{% set ns.text = ns.text ~ m.content.split('</think>')[-1] %}
  {%- if ns.count > 9 %}{% break %}{% elif not m %}{% continue %}{% endif %}
  {{- show(m) }}{{ m | tojson(indent=2) }}{{ range(3) | join(', ') }}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant{{ 2 ** 3 }}{% endif %}
{{ strftime_now('%Y') | length }}{{ ns.text | replace('a', 'bb') | upper }}
{{ messages[::-1] | length }}
"""
TALK = [
    {"role": "system", "content": "a<|im_end|>"},
    {"role": "user", "content": "b <think>"},
    {"role": "assistant", "content": "<think>c</think>d"},
]
TEXT = "abc <|im_start|>user\n  é00 12'll 👩‍👩‍👧 \u0301<think>\x00"


class Opener(NamedTuple):
    """A file, how to damage it, a valid one, and what reads it; in the order of a fuzz target."""

    file_name: str
    mutation: str
    seed: Callable[[Path], bytes]
    read: Callable[[Path], object]


def exercise(tokenizer: Tokenizer) -> int:
    """Use every method; returns the number of ids seen."""
    ids = tokenizer.encode(TEXT) + tokenizer.encode_with_specials(TEXT)
    if set(tokenizer.encode(TEXT)) & tokenizer.control_ids:
        raise AssertionError("text became a control token")
    every = range(min(tokenizer.vocab_size, 2000))
    decoder = tokenizer.decoder()
    stepwise = "".join(map(decoder.feed, every)) + decoder.finish()
    if stepwise != tokenizer.decode(every):
        raise AssertionError("decoding step by step differs")
    tokenizer.decode(ids, skip_special=True)
    return len(ids) + len(render_ids(tokenizer, TEMPLATE, TALK, loop_note=""))


def read_template(path: Path) -> int:
    """Render a template, with a tokenizer that is in order."""
    template = path.read_text("utf-8", "replace")
    return len(render_ids(_tokenizer(), template, TALK, loop_note="<|im_end|>"))


def _tokenizer() -> Tokenizer:
    return from_gguf_metadata(_metadata())


def _metadata() -> dict[str, Any]:
    joined = ["".join(pair) for pair in MERGES]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [*LETTERS, *joined, *SPECIALS],
        "tokenizer.ggml.token_type": [1] * (len(LETTERS) + len(joined)) + [3, 3, 3, 4],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in MERGES],
        "tokenizer.ggml.bos_token_id": len(LETTERS) + len(joined) + 1,
        "tokenizer.ggml.eos_token_id": len(LETTERS) + len(joined) + 2,
        "tokenizer.ggml.add_bos_token": False,
    }


def _gguf(scratch: Path) -> bytes:
    path = scratch / "tokenizer-seed.gguf"
    tensors = [TensorSpec("token_embd.weight", "F32", (4,))]
    metadata = {"general.architecture": "llama", **_metadata()}
    write_gguf(path, metadata, tensors, lambda name: bytes(16))
    return path.read_bytes()


def _tokenizer_json(scratch: Path) -> bytes:
    tokens = LETTERS + ["".join(pair) for pair in MERGES]
    off = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": len(tokens) + i, "content": text, "special": "|" in text, **off}
        for i, text in enumerate(SPECIALS)
    ]
    steps = [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
    ]
    single = [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}]
    root = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "post_processor": {"type": "TemplateProcessing", "single": single},
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)}, "merges": MERGES,
        },
    }  # fmt: skip
    return json.dumps(root).encode()


def _odd_values(random: Random) -> list[Any]:
    number = random.choice([0, 1, -1, 5, 2**31, 2**63, 10**30, random.randrange(400)])
    text = random.choice([*SPECIALS, "", "Ġ", "a b", "\ud800", "\x1b[2J", "x" * 3000, "BPE"])
    return [None, True, number, number, 1.5, text, text, [], {}, [number], [text] * 3, [[[]]]]


def damaged(node: Any, random: Random) -> Any:
    """A copy of a JSON value in which one thing somewhere is odd, doubled or missing."""
    if isinstance(node, dict) and node and random.random() < 0.9:
        key = random.choice(list(node))
        if random.random() < 0.1:
            return {k: v for k, v in node.items() if k != key}
        return {**node, key: damaged(node[key], random)}
    if isinstance(node, list) and node and random.random() < 0.9:
        at = random.randrange(len(node))
        middle = random.choice([[], [node[at]] * 2, [damaged(node[at], random)] * 2])
        return [*node[:at], *middle[: random.choice([1, 1, 1, 2])], *node[at + 1 :]]
    if isinstance(node, int) and random.random() < 0.5:
        return node + random.choice([-1, 1])
    return random.choice(_odd_values(random))


def read_metadata(path: Path) -> int:
    """Exercise valid metadata damaged once or twice; the file's bytes only decide how."""
    random = Random(path.read_bytes())
    metadata: Any = _metadata()
    for _ in range(random.choice([1, 1, 2])):
        metadata = damaged(metadata, random)
    return exercise(from_gguf_metadata(metadata)) if isinstance(metadata, dict) else 0


def read_root(path: Path) -> int:
    """As read_metadata, with a tokenizer.json."""
    random = Random(path.read_bytes())
    root = json.loads(_tokenizer_json(path.parent))
    for _ in range(random.choice([1, 1, 2])):
        root = damaged(root, random)
    path.write_text(json.dumps(root), "utf-8")
    return exercise(from_tokenizer_json(path))


def read_shuffled(path: Path) -> int:
    """Render the template with some of its words swapped; the file's bytes only decide which."""
    random = Random(path.read_bytes())
    words = re.findall(r"\w+|\s+|[{}%]+|.", TEMPLATE)
    places = [i for i, word in enumerate(words) if not word.isspace() and word[0] not in "{}%"]
    for _ in range(random.choice([1, 1, 2, 3])):
        words[random.choice(places)] = random.choice([words[random.choice(places)], *ODD_WORDS])
    return len(render_ids(_tokenizer(), "".join(words), TALK, loop_note=""))


ODD_WORDS = [
    "messages", "ns", "loop", "range", "self", "10**9", "'x'*10**9", "m", "none", "__class__",
    "loop(messages)", "show(m)", "caller()", "[ns.text]*9999", "namespace", "dict", "cycler",
]  # fmt: skip
OPENERS: dict[str, Opener] = {
    "tokenizer-gguf": Opener(
        "model.gguf",
        "gguf",
        _gguf,
        lambda path: exercise(from_gguf_metadata(GgufFile.open(path).metadata)),
    ),
    "tokenizer-json": Opener(
        "tokenizer.json",
        "json",
        _tokenizer_json,
        lambda path: exercise(from_tokenizer_json(path)),
    ),
    "tokenizer-metadata": Opener("entropy", "bytes", lambda scratch: bytes(64), read_metadata),
    "tokenizer-root": Opener("tokenizer.json", "bytes", lambda scratch: bytes(64), read_root),
    "template": Opener("template.jinja", "bytes", lambda scratch: TEMPLATE.encode(), read_template),
    "template-words": Opener("entropy", "bytes", lambda scratch: bytes(64), read_shuffled),
}


def main() -> int:
    """The command line of fuzz_containers, with these openers as its targets."""
    fuzz_containers.TARGETS.clear()
    for name, opener in OPENERS.items():
        fuzz_containers.TARGETS[name] = fuzz_containers.Target(*opener)
    fuzz_containers.__file__ = __file__  # what its workers run
    return fuzz_containers.main()


if __name__ == "__main__":
    sys.exit(main())
