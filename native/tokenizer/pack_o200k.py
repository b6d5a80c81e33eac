"""Writes src/ingle/tokenizer/o200k.bin from OpenAI's o200k_base.tiktoken.

Run with an interpreter that has tiktoken:
``python native/tokenizer/pack_o200k.py o200k_base.tiktoken``

The file is zlib-compressed: `num_tokens` token lengths (one byte each), the tokens' bytes in id
order, and the class of each of the 0x110000 code points as in o200k_split.h. The classes are those
of the regular expressions inside tiktoken, which cut the text that the model was trained on.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zlib
from pathlib import Path

from tiktoken._tiktoken import CoreBPE

SOURCE_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
CLASSES = [  # in the order of enum CharClass, from 1
    r"[\p{Lu}\p{Lt}]", r"\p{Ll}", r"[\p{Lm}\p{Lo}]", r"\p{M}", r"\p{N}", r"[^\S\r\n]", r"[\r\n]",
]  # fmt: skip


def characters_matching(pattern: str) -> set[str]:
    """Every character that tiktoken's regular expressions match with `pattern`."""
    single_bytes = {bytes([i]): i for i in range(256)}
    bpe = CoreBPE(single_bytes, {}, pattern)
    every = "".join(chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000)
    matched: str = bytes(bpe.encode_ordinary(every)).decode("utf-8")
    return set(matched)


def main() -> None:
    source = Path(sys.argv[1]).read_bytes()
    if hashlib.sha256(source).hexdigest() != SOURCE_SHA256:
        sys.exit("this is not OpenAI's o200k_base.tiktoken")
    lines = [line.split() for line in source.splitlines()]
    tokens = [base64.b64decode(token) for token, _ in lines]
    if [int(rank) for _, rank in lines] != list(range(len(tokens))):
        sys.exit("ranks are not consecutive")
    classes = bytearray(0x110000)
    for number, pattern in enumerate(CLASSES, 1):
        for character in characters_matching(pattern):
            classes[ord(character)] = number
    payload = bytes(map(len, tokens)) + b"".join(tokens) + bytes(classes)
    target = Path(__file__).parents[2] / "src/ingle/tokenizer/o200k.bin"
    target.write_bytes(zlib.compress(payload, 9))


if __name__ == "__main__":
    main()
