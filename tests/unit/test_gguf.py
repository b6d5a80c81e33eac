"""GgufFile reads what the `gguf` package writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle.errors import IngleError
from ingle.formats.ggml_types import ggml_type
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_strings import StringArray


def write_with_package(path: Path, architecture: str = "llama", **kwargs: Any) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture, **kwargs)
    return writer


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_every_value_type(tmp_path: Path) -> None:
    path = tmp_path / "values.gguf"
    writer = write_with_package(path)
    writer.add_uint8("u8", 200)
    writer.add_int8("i8", -100)
    writer.add_uint16("u16", 60000)
    writer.add_int16("i16", -30000)
    writer.add_uint32("u32", 4_000_000_000)
    writer.add_int32("i32", -2_000_000_000)
    writer.add_uint64("u64", 1 << 63)
    writer.add_int64("i64", -(1 << 62))
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_string("text", "hé\x00llo")
    writer.add_array("numbers", [1, 2, -3])
    writer.add_array("flags", [True, False])
    writer.add_array("words", ["a", "", "ü" * 300])
    writer.add_array("nested", [[1, 2], [3]])
    finish(writer)
    file = GgufFile.open(path)
    assert file.version == 3
    expected = {
        "general.architecture": "llama",
        "u8": 200,
        "i8": -100,
        "u16": 60000,
        "i16": -30000,
        "u32": 4_000_000_000,
        "i32": -2_000_000_000,
        "u64": 1 << 63,
        "i64": -(1 << 62),
        "f32": 0.5,
        "f64": 0.1,
        "yes": True,
        "text": "hé\x00llo",
    }
    scalars = {key: file.metadata[key] for key in expected}
    assert scalars == expected
    assert {type(value) for value in scalars.values()} == {int, float, bool, str}
    assert file.metadata["numbers"].tolist() == [1, 2, -3]
    assert file.metadata["flags"].tolist() == [True, False]
    words = file.metadata["words"]
    assert isinstance(words, StringArray)
    assert words.strings() == list(words) == words[:] == ["a", "", "ü" * 300]
    assert words.raw(-1) == ("ü" * 300).encode()
    with pytest.raises(IndexError):
        words.raw(3)
    assert [array.tolist() for array in file.metadata["nested"]] == [[1, 2], [3]]


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_1", "MXFP4", "Q6_K"])
def test_tensor_bytes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tensors.gguf"
    writer = write_with_package(path)
    type_id = gguf.GGMLQuantizationType[kind]
    block, block_bytes = gguf.GGML_QUANT_SIZES[type_id]
    row_bytes = 512 // block * block_bytes
    rows = np.random.default_rng(1).integers(0, 256, (3, 5, row_bytes), dtype=np.uint8)
    writer.add_tensor("a.weight", np.ones(7, np.float32))
    writer.add_tensor("b.weight", rows, raw_dtype=type_id)
    finish(writer)
    file = GgufFile.open(path)
    entry = file.tensors["b.weight"]
    assert (entry.format, entry.shape, entry.nbytes) == (kind, (3, 5, 512), rows.nbytes)
    assert entry.bits_per_weight == 8 * block_bytes / block
    data = file.read("b.weight")
    assert np.array_equal(data, rows)
    assert not data.flags.writeable and not data.flags.owndata
    assert file.read("a.weight").view("<f4").tolist() == [1.0] * 7
    with pytest.raises(IngleError, match="tensor must be in the file, but got 'c'"):
        file.read("c")


words_strategy = st.lists(st.text(max_size=40) | st.text("ab\x00", max_size=600), max_size=700)


@settings(deadline=None, max_examples=60)
@given(words=words_strategy, repeats=st.integers(1, 30))
def test_string_arrays(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], repeats: int
) -> None:
    many = (words * repeats)[:5000]
    path = tmp_path_factory.mktemp("words") / "words.gguf"
    writer = write_with_package(path)
    if many:
        writer.add_array("words", many)
    writer.add_uint32("after", 7)
    finish(writer)
    file = GgufFile.open(path)
    assert file.metadata["after"] == 7
    if many:
        assert file.metadata["words"].strings() == many
        assert file.metadata["words"].raws() == [word.encode() for word in many]


def test_split_model_opens_from_any_part(tmp_path: Path) -> None:
    writer = write_with_package(tmp_path / "model.gguf", split_max_tensors=2)
    tensors = {f"t{i}": np.full((2, 32), i, np.float32) for i in range(5)}
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    finish(writer)
    parts = sorted(tmp_path.glob("*.gguf"))
    assert len(parts) == 3
    for part in parts:
        file = GgufFile.open(part)
        assert file.files == tuple(parts)
        assert file.metadata["general.architecture"] == "llama"
        assert list(file.tensors) == list(tensors)
        for name, data in tensors.items():
            assert np.array_equal(file.read(name).view("<f4"), data)
    parts[1].unlink()
    with pytest.raises(IngleError, match="00002-of-00003"):
        GgufFile.open(parts[0])


def test_sizes_of_all_types_are_the_package_s() -> None:
    sizes = {kind.name: sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    # The package counts Q8_1's two float16 as float32; ggml's block_q8_1 has 36 bytes.
    assert sizes.pop("Q8_1") == (32, 40)
    for name, (block, block_bytes) in sizes.items():
        type_id, kind = ggml_type(name, "test")
        assert (type_id, *kind) == (gguf.GGMLQuantizationType[name], name, block, block_bytes)
