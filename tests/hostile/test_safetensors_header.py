"""Every rule of a safetensors header is enforced, with a message naming file, tensor and field."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from ingle.errors import IngleError
from ingle.formats.safetensors import SafetensorsFile


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def packed(header: object, data: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


CASES: dict[str, tuple[bytes, str]] = {
    "no length": (b"\0\0\0", "header] file must have at least 8 bytes, but got 3"),
    "long header": (struct.pack("<Q", 1 << 62) + b"{}", "header length must be 2 to 2, but got"),
    "empty header": (struct.pack("<Q", 0), "header length must be"),
    "not utf-8": (packed(b'{"\xff":1}'), "header must be UTF-8, but byte 2 is not"),
    "not json": (packed(b"xx"), "'{' must come next, but got 'xx' at character 0"),
    "unclosed": (packed(b'{"a'), "string must be valid JSON"),
    "control in string": (packed(b'{"a\n":{}}'), "string must be valid JSON"),
    "lone surrogate": (packed(b'{"\\ud800":{}}'), "string must be valid JSON and Unicode"),
    "trailing comma": (packed(b'{"__metadata__":{},}'), "a string must come next"),
    "rest after object": (packed(b"{}{}"), "header must end after its object"),
    "list": (packed([]), "'{' must come next"),
    "deep": (packed(b'{"a":' * 5000), "keys must be dtype"),
    "tensor is a number": (packed({"a": 1}), "'a'] '{' must come next"),
    "missing key": (packed({"a": {"dtype": "F32", "shape": [2]}}), "',' must come next"),
    "unknown key": (packed({"a": {"dtype": "F32", "x": [2]}}), "keys must be dtype"),
    "key twice": (packed(b'{"a":{"dtype":"F32","dtype":"F32"'), "keys must be dtype"),
    "dtype twice a list": (packed({"a": entry(dtype=[])}), "'a' dtype] a string must come next"),
    "unknown dtype": (packed({"a": entry("F33")}), "'a' dtype] dtype must be one of"),
    "name twice": (
        packed(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2)),
        "'a'] name must be unique",
    ),
    "metadata twice": (packed(b'{"__metadata__":{},"__metadata__":{}}'), "name must be unique"),
    "metadata key twice": (packed(b'{"__metadata__":{"k":"","k":""}}'), "key must be unique"),
    "metadata number": (packed({"__metadata__": {"k": 1}}), "__metadata__ 'k'] a string"),
    "negative dim": (packed({"a": entry(shape=[-2])}), "'a' shape] a whole number"),
    "float dim": (packed({"a": entry(shape=[2.0])}), "'a' shape] ',' must come next"),
    "huge dim": (packed({"a": entry(shape=[10**30])}), "a whole number below 10\\^19"),
    "leading zero": (packed(b'{"a":{"shape":[02]'), "',' must come next"),
    "many dims": (packed({"a": entry(shape=[1] * 17)}), "at most 16 numbers"),
    "overflowing shape": (packed({"a": entry(shape=[2**62, 4])}), "shape must be addressable"),
    "overflow around zero": (
        packed({"a": entry(shape=[2**62, 2**62, 0], offsets=[0, 0])}, b""),
        "shape must be addressable",
    ),
    "shape disagrees": (packed({"a": entry(shape=[3])}), "must be 12 bytes for its shape"),
    "backwards": (
        packed({"a": entry(offsets=[8, 0])}),
        "must be 8 bytes for its shape, but got -8",
    ),
    "one offset": (packed({"a": entry(offsets=[8])}), "offsets must be two"),
    "three offsets": (packed({"a": entry(offsets=[0, 8, 9])}), "at most 2 numbers"),
    "past the end": (packed({"a": entry(offsets=[8, 16])}), "must end inside the 8 bytes of data"),
    "gap": (packed({"a": entry(offsets=[4, 12])}, b"\0" * 12), "must begin where .* but got 4"),
    "overlap": (
        packed({"a": entry(), "b": entry(offsets=[4, 12])}, b"\0" * 12),
        "'b' data_offsets] data must begin where the one before ends, at 8, but got 4",
    ),
    "trailing bytes": (packed({"a": entry()}, b"\0" * 9), "tensors must fill the file"),
    "half byte": (packed({"a": entry("F4", [3], [0, 2])}, b"\0\0"), "multiple of 2 long"),
}


@pytest.mark.parametrize("name", CASES)
def test_rule(tmp_path: Path, name: str) -> None:
    content, message = CASES[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(IngleError, match=message) as raised:
        SafetensorsFile.open(path)
    assert str(raised.value).startswith(f"[{path}: ")
    assert "\n" not in str(raised.value).split("\nhint: ")[0]


def test_padded_header_and_key_order(tmp_path: Path) -> None:
    path = tmp_path / "good.safetensors"
    text = b'{ "a" : {"data_offsets":[ 0 , 8], "shape":[] ,"dtype":"F64" } }   '
    path.write_bytes(packed(text))
    model = SafetensorsFile.open(path)
    assert model.tensors["a"].shape == ()
    assert model.read("a").shape == (8,)
