"""Owns making hostile files out of valid ones, knowing where the fields of a container are.

`mutate(kind, seed, random)` applies one to four changes; nine tenths of them fall into the header.
"""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any, NamedTuple

SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
LIMITS = [1 << bits for bits in (0, 4, 7, 8, 15, 16, 24, 31, 32, 40, 53, 59, 60, 61, 62, 63, 64)]
NUMBERS = sorted({0, 2, 3, 5, 33, *LIMITS, *(limit - 1 for limit in LIMITS)})
HEADER_SHARE = 0.9


class Field(NamedTuple):
    """A field of a GGUF header: its bytes and, for the items of a list, where the item ends."""

    offset: int
    nbytes: int


class GgufMap(NamedTuple):
    """Where the numbers, texts and whole entries of a valid GGUF file are.

    elements are the numbers and lengths inside arrays, kept apart because they are so many.
    """

    numbers: list[Field]
    elements: list[Field]
    texts: list[Field]
    entries: list[Field]
    header_bytes: int


class _Walk:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 8
        self.map = GgufMap([Field(4, 4)], [], [], [], 0)
        self.in_array = False

    def number(self, nbytes: int) -> int:
        known = self.map.elements if self.in_array else self.map.numbers
        known.append(Field(self.at, nbytes))
        value = int.from_bytes(self.data[self.at : self.at + nbytes], "little")
        self.at += nbytes
        return value

    def text(self) -> None:
        length = self.number(8)
        self.map.texts.append(Field(self.at, length))
        self.at += length

    def value(self, type_id: int) -> None:
        if type_id == STRING:
            self.text()
        elif type_id == ARRAY:
            element, count = self.number(4), self.number(8)
            self.in_array = True
            for _ in range(count):
                self.value(element)
            self.in_array = False
        else:
            self.number(SCALAR_BYTES[type_id])

    def entry(self, start: int) -> None:
        self.map.entries.append(Field(start, self.at - start))


def map_gguf(data: bytes) -> GgufMap:
    """Fields of a valid file."""
    walk = _Walk(data)
    num_tensors, num_values = walk.number(8), walk.number(8)
    for _ in range(num_values):
        start = walk.at
        walk.text()
        walk.value(walk.number(4))
        walk.entry(start)
    for _ in range(num_tensors):
        start = walk.at
        walk.text()
        for _ in range(walk.number(4)):
            walk.number(8)
        walk.number(4)
        walk.number(8)
        walk.entry(start)
    return walk.map._replace(header_bytes=walk.at)


def mutate(kind: str, seed: bytes, random: Random) -> bytes:
    """A hostile relative of `seed`; kind is "gguf", "safetensors", "json" or "bytes"."""
    data = seed
    for _ in range(random.choice([1, 1, 1, 2, 3, 4])):
        if random.random() > HEADER_SHARE:
            data = _mutate_bytes(data, 0, len(data), random)
        elif kind == "gguf":
            # Fields are those of the seed: after a change of length they hit something else.
            data = _mutate_gguf(data, map_gguf(seed), random)
        elif kind == "safetensors":
            data = _mutate_safetensors(data, random)
        elif kind == "json":
            data = _mutate_json(data, random)
        else:
            data = _mutate_bytes(data, 0, len(data), random)
    return data


def _number(random: Random, old: int) -> int:
    near = [
        old + 1,
        old - 1,
        old * 2,
        -old,
        old ^ (1 << random.randrange(64)),
        random.randrange(60),
    ]
    return random.choice([*near, random.choice(NUMBERS), random.choice(NUMBERS)])


def _mutate_gguf(data: bytes, fields: GgufMap, random: Random) -> bytes:
    how = random.randrange(10)
    if how < 5:
        field = random.choice(fields.elements if random.random() < 0.1 else fields.numbers)
        old = int.from_bytes(data[field.offset : field.offset + field.nbytes], "little")
        new = _number(random, old) % (1 << 8 * field.nbytes)
        return _replace(data, field, new.to_bytes(field.nbytes, "little"))
    if how < 6:
        field, text = random.choice(fields.texts), _bad_text(random)
        length = struct.pack("<Q", len(text) if random.random() < 0.7 else field.nbytes)
        return _replace(data, Field(field.offset - 8, field.nbytes + 8), length + text)
    if how < 7:
        one, two = random.choice(fields.numbers), random.choice(fields.numbers)
        return _replace(data, one, data[two.offset : two.offset + one.nbytes].ljust(one.nbytes))
    if how < 9 and fields.entries:
        one, two = random.choice(fields.entries), random.choice(fields.entries)
        other = data[two.offset : two.offset + two.nbytes]
        return _replace(data, one, random.choice([b"", other, other * 2, other[: one.nbytes]]))
    return _mutate_bytes(data, 0, fields.header_bytes, random)


def _mutate_safetensors(data: bytes, random: Random) -> bytes:
    length = int.from_bytes(data[:8], "little")
    if random.random() < 0.1:
        return struct.pack("<Q", _number(random, length) % (1 << 64)) + data[8:]
    changed = _mutate_json(data[8 : 8 + length], random)
    kept = length if random.random() < 0.1 else len(changed)
    return struct.pack("<Q", kept) + changed + data[8 + length :]


def _mutate_json(text: bytes, random: Random) -> bytes:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _mutate_bytes(text, 0, len(text), random)
    if random.random() < 0.3:
        return _mutate_json_text(text, random)
    changed = json.dumps(_mutate_value(value, random), separators=(",", ":"))
    return changed.encode("utf-8", "surrogatepass")


def _mutate_json_text(text: bytes, random: Random) -> bytes:
    at = random.randrange(len(text) + 1)
    mark = random.choice(
        [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\ud800", b"\\u0000", b"\xff"]
    )
    many = mark * random.choice([1, 1, 1, 2, 5000])
    middle = len(text) // 2
    return random.choice(
        [text[:at] + many + text[at:], text[:at] + text[at + 1 :], text + text[middle:]]
    )


def _mutate_value(value: Any, random: Random) -> Any:
    """Change one place of a JSON value, chosen by walking down from the top."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        how = random.randrange(10)
        if how == 0:
            return {k: v for k, v in value.items() if k != key}
        if how == 1:
            return {(_odd_text(random) if k == key else k): v for k, v in value.items()}
        if how == 2:
            return value | {_odd_text(random): value[key]}
        return value | {key: _mutate_value(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        at = random.randrange(len(value))
        if random.random() < 0.3:
            return random.choice([value[:at], value + value, [*value, value[at]], value[::-1]])
        return [*value[:at], _mutate_value(value[at], random), *value[at + 1 :]]
    if isinstance(value, int) and random.random() < 0.8:
        return _number(random, value)
    return random.choice(
        [
            None,
            True,
            -1,
            0.5,
            1e308,
            10**40,
            _odd_text(random),
            "F32",
            "F4",
            "BF16",
            "U8",
            [],
            {},
            [0],
        ]
    )


def _odd_text(random: Random) -> str:
    return random.choice(
        [
            "",
            "\0",
            "a",
            "\ud800",
            "é" * 300,
            "../x.safetensors",
            "__metadata__",
            "\x1b[31m",
            "x" * 70_000,
        ]
    )


def _bad_text(random: Random) -> bytes:
    return random.choice(
        [b"", b"\xff\xfe", b"\0" * 9, b"\xf0\x9f", b"general.alignment", b"A" * 70_000]
    )


def _mutate_bytes(data: bytes, start: int, stop: int, random: Random) -> bytes:
    stop = max(start + 1, min(stop, len(data)))
    at = random.randrange(start, stop)
    how = random.randrange(6)
    if how == 0:
        return data[:at]
    if how == 1:
        return data[:at] + random.randbytes(random.choice([1, 4, 8, 64])) + data[at:]
    if how == 2:
        return data[:at] + data[at + random.choice([1, 4, 8, 64]) :]
    if how == 3:
        return data + random.choice([b"\0", b"\0" * 32, data[at:]])
    flipped = bytes(byte ^ (1 << random.randrange(8)) for byte in data[at : at + 1])
    return data[:at] + flipped + data[at + 1 :]


def _replace(data: bytes, field: Field, new: bytes) -> bytes:
    return data[: field.offset] + new + data[field.offset + field.nbytes :]
