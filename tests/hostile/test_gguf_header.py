"""Every rule of a GGUF header is enforced, with a message naming file, tensor and field."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ingle.errors import IngleError, UnsupportedError
from ingle.formats.gguf import GgufFile

U8, U32, BOOL, STRING, ARRAY = 0, 4, 7, 8, 9


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return u64(len(raw)) + raw


def pair(key: str | bytes, type_id: int, value: bytes) -> bytes:
    return text(key) + u32(type_id) + value


def tensor(name: str = "t", ne: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + u32(len(ne)) + b"".join(map(u64, ne)) + u32(kind) + u64(offset)


def gguf_file(
    pairs: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    data: bytes = b"",
    magic: bytes = b"GGUF\x03\0\0\0",
    alignment: int = 32,
) -> bytes:
    pairs, tensors = pairs or [], tensors or []
    header = magic + u64(len(tensors)) + u64(len(pairs)) + b"".join(pairs) + b"".join(tensors)
    return header + b"\0" * (-len(header) % alignment) + data


def array(element_type: int, count: int, elements: bytes = b"") -> bytes:
    return u32(element_type) + u64(count) + elements


def nested(depth: int) -> bytes:
    return array(ARRAY, 1, nested(depth - 1)) if depth else array(U8, 0)


START = b"GGUF\x03\0\0\0"
CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "magic] file must start with 'GGUF', but got ''"),
    "other magic": (b"GGML\x03\0\0\0" + b"\0" * 16, "but got 'GGML'"),
    "no version": (b"GGUF", "version] field must end inside the file"),
    "version 0": (gguf_file(magic=b"GGUF\0\0\0\0"), "version must be 2 or 3, but got 0"),
    "version 1": (gguf_file(magic=b"GGUF\1\0\0\0"), "version must be 2 or 3, but got 1"),
    "version 4": (gguf_file(magic=b"GGUF\4\0\0\0"), "version must be 2 or 3, but got 4"),
    "big endian": (gguf_file(magic=b"GGUF\0\0\0\3"), "must be little endian, but got big"),
    "tensor count": (START + u64(1 << 63) + u64(0), "tensor count] count must fit in the file"),
    "metadata count": (START + u64(0) + u64(1 << 40), "metadata count] count must fit"),
    "count beyond": (START + u64(0) + u64(2) + b"\0" * 20, "metadata count] count must fit"),
    "long key": (gguf_file([u64(1 << 60) + b"\0" * 20]), "metadata key 0] string must have at"),
    "cut key": (gguf_file([u64(5000) + b"\0" * 20]), "metadata key 0] field must end inside"),
    "key not utf-8": (gguf_file([pair(b"\xff", U8, b"\0")]), "key 0] string must be UTF-8"),
    "empty key": (gguf_file([pair("", U8, b"\0")]), "key must be unique, but got ''"),
    "key twice": (gguf_file([pair("k", U8, b"\0")] * 2), "key 1] key must be unique, but got 'k'"),
    "value type": (gguf_file([pair("k", 13, b"\0" * 8)]), "'k'] value type must be 0 to 12"),
    "cut value": (gguf_file([pair("k", 12, b"")], alignment=1), "'k'] field must end inside"),
    "bool of 2": (gguf_file([pair("k", BOOL, b"\2")]), "bool must be stored as 0 or 1, but got 2"),
    "bools of 9": (gguf_file([pair("k", ARRAY, array(BOOL, 2, b"\1\x09"))]), "but got 9"),
    "text not utf-8": (gguf_file([pair("k", STRING, text(b"\xc3("))]), "'k'] string must be UTF"),
    "long text": (gguf_file([pair("k", STRING, u64(1 << 50))]), "'k'] string must have at most"),
    "array type": (gguf_file([pair("k", ARRAY, array(77, 1, b"\0" * 8))]), "element type must be"),
    "array count": (gguf_file([pair("k", ARRAY, array(U32, 1 << 61))]), "'k'] count must fit"),
    "string count": (gguf_file([pair("k", ARRAY, array(STRING, 1 << 61))]), "'k'] count must fit"),
    "long string in array": (
        gguf_file([pair("k", ARRAY, array(STRING, 2, text("a") + u64(1 << 62)))]),
        "'k'] string must end inside the file",
    ),
    "cut array of strings": (
        gguf_file([pair("k", ARRAY, array(STRING, 2, text("a" * 20)))], alignment=1),
        "'k'] strings must end inside the file",
    ),
    "nesting": (gguf_file([pair("k", ARRAY, nested(9))]), "arrays must nest at most 4 deep"),
    "nested count": (
        gguf_file([pair(key, ARRAY, array(ARRAY, 9000, array(U8, 0) * 9000)) for key in "kl"]),
        "'l'] file must hold at most 16384 nested arrays",
    ),
    "alignment 0": (gguf_file([pair("general.alignment", U32, u32(0))]), "power of two"),
    "alignment 48": (gguf_file([pair("general.alignment", U32, u32(48))]), "but got '48'"),
    "alignment 2^31": (gguf_file([pair("general.alignment", U32, u32(1 << 31))]), "power of two"),
    "alignment bool": (gguf_file([pair("general.alignment", BOOL, b"\1")]), "power of two"),
    "alignment text": (gguf_file([pair("general.alignment", STRING, text("x"))]), "but got 'x'"),
    "no name": (gguf_file(tensors=[tensor("")], data=b"\0" * 128), "name must not be empty"),
    "name twice": (gguf_file(tensors=[tensor()] * 2, data=b"\0" * 128), "'t'] name must be unique"),
    "five dims": (gguf_file(tensors=[tensor(ne=(1,) * 5)]), "'t' dims] tensor must have at most 4"),
    "zero dim": (gguf_file(tensors=[tensor(ne=(32, 0))]), "'t' shape] dimensions must be at least"),
    "ragged row": (
        gguf_file(tensors=[tensor(ne=(33,), kind=8)]),
        "rows of Q8_0 must be a multiple",
    ),
    "huge shape": (
        gguf_file(tensors=[tensor(ne=(1 << 63,) * 4)]),
        "'t' data] data must end inside",
    ),
    "wrapping shape": (
        gguf_file(tensors=[tensor(ne=(1 << 32, 1 << 32))], data=b"\0" * 64),
        "'t' data] data must end inside",
    ),
    "removed type": (gguf_file(tensors=[tensor(kind=4)]), "'t' type] .* got 4 .removed"),
    "unknown type": (gguf_file(tensors=[tensor(kind=999)]), "'t' type] .* got 999 .unknown"),
    "offset": (
        gguf_file(tensors=[tensor(offset=8)], data=b"\0" * 256),
        "multiple of 32, but got 8",
    ),
    "far offset": (gguf_file(tensors=[tensor(offset=(1 << 64) - 32)]), "'t' data] data must end"),
    "cut data": (gguf_file(tensors=[tensor()], data=b"\0" * 127), "'t' data] data must end inside"),
    "overlap": (
        gguf_file(tensors=[tensor("a"), tensor("b", offset=96)], data=b"\0" * 256),
        "'b' offset] tensors must not overlap, but got one that starts inside 'a'",
    ),
    "split text": (gguf_file([pair("split.count", STRING, text("2"))]), "value must be a count"),
    "split name": (gguf_file([pair("split.count", U32, u32(2))]), "must be named like"),
    "split total": (gguf_file([pair("split.tensors.count", U32, u32(2))]), "hold 2 tensors"),
}


@pytest.mark.parametrize("name", CASES)
def test_rule(tmp_path: Path, name: str) -> None:
    content, message = CASES[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(IngleError, match=message) as raised:
        GgufFile.open(path)
    assert str(raised.value).startswith(f"[{path}: ")
    assert "\n" not in str(raised.value).split("\nhint: ")[0]


def test_what_the_cases_start_from_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "good.gguf"
    pairs = [pair("k", ARRAY, nested(2)), pair("general.alignment", U32, u32(64))]
    path.write_bytes(gguf_file(pairs, [tensor(ne=())], b"\0" * 64, b"GGUF\2\0\0\0", 64))
    file = GgufFile.open(path)
    assert (file.version, file.alignment) == (2, 64)
    assert file.tensors["t"].shape == (1,)


def test_ollama_type_4_is_mxfp4_in_openai_order(tmp_path: Path) -> None:
    path = tmp_path / "ollama.gguf"
    pairs = [pair("general.architecture", STRING, text("gptoss"))]
    path.write_bytes(gguf_file(pairs, [tensor(ne=(64, 2), kind=4)], bytes(range(68))))
    file = GgufFile.open(path)
    assert file.tensors["t"].format == "MXFP4_OLLAMA"
    assert file.read("t").shape == (2, 34)
    path.write_bytes(gguf_file([], [tensor(ne=(64, 2), kind=4)], bytes(range(68))))
    with pytest.raises(UnsupportedError, match=r"got 4 .removed"):
        GgufFile.open(path)


def test_token_that_is_not_utf8_is_named_when_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "tokens.gguf"
    words = array(STRING, 2, text("ok") + text(b"\xff\xfe"))
    path.write_bytes(gguf_file([pair("tokens", ARRAY, words)]))
    tokens = GgufFile.open(path).metadata["tokens"]
    assert tokens.raws() == [b"ok", b"\xff\xfe"]
    for read in (tokens.strings, lambda: tokens[1]):
        with pytest.raises(IngleError, match=r"'tokens'\[1\]] string must be UTF-8"):
            read()


@pytest.mark.parametrize("length", [0, 200, 255, 256, 70_000])
@pytest.mark.parametrize("fill", [b"\0", b"a", b"\x05\0\0\0\0\0\0\0"])
def test_strings_that_look_like_lengths(tmp_path: Path, length: int, fill: bytes) -> None:
    # Strings of zeros and of fake length fields, over more than one scanning window.
    path = tmp_path / "strings.gguf"
    odd = (fill * length)[:length]
    words = [b"plain"] * 400 + [odd] * 30 + [b"x" * (i % 90) for i in range(40_000)] + [odd]
    stored = array(STRING, len(words), b"".join(map(text, words)))
    path.write_bytes(gguf_file([pair("words", ARRAY, stored), pair("after", U8, b"\7")]))
    file = GgufFile.open(path)
    assert file.metadata["words"].raws() == words
    assert file.metadata["after"] == 7


def test_parts_of_different_models_do_not_mix(tmp_path: Path) -> None:
    def part(number: int, count: int) -> bytes:
        return gguf_file(
            [pair("split.no", U32, u32(number)), pair("split.count", U32, u32(count))],
            [tensor(f"t{number}")],
            b"\0" * 128,
        )

    first, second = tmp_path / "m-00001-of-00002.gguf", tmp_path / "m-00002-of-00002.gguf"
    first.write_bytes(part(0, 2))
    second.write_bytes(part(0, 2))
    with pytest.raises(IngleError, match="part must be number 1 of 2, but got 0 of 2"):
        GgufFile.open(second)
    second.write_bytes(part(1, 3))
    with pytest.raises(IngleError, match="part must be number 1 of 2, but got 1 of 3"):
        GgufFile.open(first)
    second.write_bytes(part(1, 2).replace(b"t1", b"t0"))
    with pytest.raises(IngleError, match="unique across all parts"):
        GgufFile.open(first)
