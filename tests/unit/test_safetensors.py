"""SafetensorsFile reads what the `safetensors` package writes, whole, sharded and in folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.formats.detect import open_container
from ingle.formats.gguf import GgufFile
from ingle.formats.safetensors import SafetensorsFile

arrays = hnp.arrays(
    st.sampled_from(["<f4", "<f2", "<i8", "u1", "<u2", "?"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
FORMATS = {"<f4": "F32", "<f2": "F16", "<i8": "I64", "|u1": "U8", "<u2": "U16", "|b1": "BOOL"}


@settings(deadline=None, max_examples=60)
@given(
    tensors=st.dictionaries(st.text(min_size=1, max_size=20), arrays, max_size=5),
    metadata=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
)
def test_reads_what_the_package_writes(
    tmp_path_factory: pytest.TempPathFactory,
    tensors: dict[str, np.ndarray],
    metadata: dict[str, str],
) -> None:
    tensors.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("st") / "model.safetensors"
    save_file(tensors, path, metadata or None)
    model = SafetensorsFile.open(path)
    assert dict(model.metadata) == metadata
    assert model.tensors.keys() == tensors.keys()
    for name, array in tensors.items():
        entry, data = model.tensors[name], model.read(name)
        assert entry.format == FORMATS[array.dtype.str]
        assert entry.shape == array.shape
        assert data.shape[:-1] == array.shape[:-1]
        assert data.tobytes() == array.tobytes()
        assert not data.flags.writeable and not data.flags.owndata


def write_shards(folder: Path) -> Path:
    save_file({"a": np.arange(4, dtype=np.float32)}, folder / "model-00001-of-00002.safetensors")
    save_file({"b": np.arange(6, dtype=np.uint8)}, folder / "model-00002-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    weight_map = {
        "a": "model-00001-of-00002.safetensors",
        "b": "model-00002-of-00002.safetensors",
    }
    index.write_text(json.dumps({"metadata": {"total_size": 22}, "weight_map": weight_map}))
    return index


def test_shards_by_folder_and_by_index(tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    for path in (tmp_path, index):
        model = open_container(path)
        assert [file.name[:11] for file in model.files] == ["model-00001", "model-00002"]
        assert model.read("a").view("<f4").tolist() == [0, 1, 2, 3]
        assert model.read("b").tolist() == [0, 1, 2, 3, 4, 5]


def test_folder_without_index_reads_every_file(tmp_path: Path) -> None:
    write_shards(tmp_path).unlink()
    assert set(open_container(tmp_path).tensors) == {"a", "b"}
    save_file({"a": np.zeros(1, np.uint8)}, tmp_path / "z.safetensors")
    with pytest.raises(FileFormatError, match="'a'] name must be unique across all files"):
        open_container(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../model-00001-of-00002.safetensors"}, "bare name"),
        ({"a": "/etc/passwd"}, "bare name"),
        ({"a": 3}, "bare name"),
        ({}, "must map"),
        ([], "must map"),
        ({"a": "model-00003-of-00002.safetensors"}, "must be readable"),
        ({"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}, "lie"),
    ],
)
def test_index_must_tell_the_truth(tmp_path: Path, weight_map: object, message: str) -> None:
    index = write_shards(tmp_path)
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(IngleError, match=message):
        open_container(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"a": NaN}', '{"a":1,"a":2}', "[" * 100_000, '{"a":"\\ud800"', "\x00"]
)
def test_index_must_be_an_object(tmp_path: Path, text: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(FileFormatError):
        open_container(index)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", FileFormatError, "must be GGUF or safetensors"),
        (b"hello, world", FileFormatError, "must be GGUF or safetensors"),
        (b"PK\x03\x04rest of a zip", UnsupportedError, "zip archive or Python pickle"),
    ],
)
def test_other_files_are_named(
    tmp_path: Path, content: bytes, error: type[IngleError], message: str
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        open_container(path)


def test_what_is_no_file_neither_hangs_nor_opens(tmp_path: Path) -> None:
    os = pytest.importorskip("os")
    pipe = tmp_path / "model.gguf"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path / "missing", tmp_path / "model\x00.gguf"):
        with pytest.raises(IngleError, match="must be readable"):
            open_container(path)
    with pytest.raises(IngleError, match="something that is not a regular file"):
        GgufFile.open(tmp_path)
