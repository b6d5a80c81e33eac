"""What ingle writes, the `gguf` and `safetensors` packages read; killed jobs resume."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from ingle.errors import IngleError
from ingle.formats import journal
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_values import Typed, typed_metadata
from ingle.formats.safetensors import SafetensorsFile
from ingle.formats.writer import TensorSpec, write_gguf, write_safetensors

SPECS = [
    TensorSpec("a", "F32", (3, 5)),
    TensorSpec("b", "U8", (7,)),
    TensorSpec("c", "BF16", (2, 3, 4)),
]
GGUF_SPECS = [
    TensorSpec("a", "F32", (3, 5)),
    TensorSpec("b", "Q4_1", (2, 64)),
    TensorSpec("c", "MXFP4", (2, 3, 32)),
    TensorSpec("d", "F16", (9,)),
]
SIZES = {"a": 60, "b": 7, "c": 48}
GGUF_SIZES = {"a": 60, "b": 80, "c": 102, "d": 18}


def content(sizes: dict[str, int], calls: list[str] | None = None) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        if calls is not None:
            calls.append(name)
        return bytes((ord(name) + i) % 251 for i in range(sizes[name]))

    return read


def test_gguf_package_reads_tensors_and_values(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "count": 7,
        "negative": -7,
        "large": 1 << 40,
        "larger": (1 << 64) - 1,
        "real": 0.25,
        "yes": True,
        "short": Typed(513, 2),
        "double": Typed(0.1, 12),
        "words": ["a", "", "né"],
        "numbers": [1, -2],
        "long": [1 << 40],
        "reals": [0.5],
        "flags": [True, False],
        "table": np.arange(5, dtype=np.uint16),
        "nested": [[1, 2], [3]],
    }
    write_gguf(path, metadata, GGUF_SPECS, content(GGUF_SIZES))
    reader = gguf.GGUFReader(path)
    kinds = gguf.GGUFValueType
    read = {key: reader.fields[key] for key in metadata}
    expected = {**metadata, "short": 513, "double": 0.1, "table": [0, 1, 2, 3, 4]}
    del read["nested"], expected["nested"]  # the package reads them flat
    assert {key: field.contents() for key, field in read.items()} == expected
    assert read["count"].types == [kinds.UINT32]
    assert read["short"].types == [kinds.UINT16]
    assert read["double"].types == [kinds.FLOAT64]
    assert read["table"].types == [kinds.ARRAY, kinds.UINT16]
    assert [tensor.name for tensor in reader.tensors] == list("abcd")
    for tensor in reader.tensors:
        assert tensor.data.tobytes() == content(GGUF_SIZES)(tensor.name)
        assert tensor.data_offset % 32 == 0
    file = GgufFile.open(path)
    assert [array.tolist() for array in file.metadata["nested"]] == [[1, 2], [3]]
    assert [entry.shape for entry in file.tensors.values()] == [spec.shape for spec in GGUF_SPECS]


scalars = st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(width=32) | st.text()
lists = st.lists(st.text(), min_size=1) | st.lists(st.integers(-(1 << 63), (1 << 63) - 1))


@settings(deadline=None, max_examples=60)
@given(metadata=st.dictionaries(st.text(min_size=1), scalars | lists, max_size=6))
def test_metadata_survives_two_round_trips(
    tmp_path_factory: pytest.TempPathFactory, metadata: dict[str, Any]
) -> None:
    metadata.pop("general.alignment", None)
    metadata = {key: v for key, v in metadata.items() if not key.startswith("split.")}
    folder = tmp_path_factory.mktemp("metadata")
    first, second = folder / "first.gguf", folder / "second.gguf"
    write_gguf(first, metadata, [], content({}))
    write_gguf(second, typed_metadata(GgufFile.open(first)), [], content({}))
    assert first.read_bytes() == second.read_bytes()
    file = GgufFile.open(second)
    assert list(file.metadata) == list(metadata)
    for key, value in metadata.items():
        stored = file.metadata[key]
        if isinstance(value, list):
            stored = list(stored)
        assert stored == value or (stored != stored and value != value)


@pytest.mark.parametrize(
    "value", [None, 1 << 64, [1, "a"], [1 << 63], object(), Typed(300, 0), np.zeros(2, "c8")]
)
def test_values_gguf_cannot_hold(tmp_path: Path, value: object) -> None:
    with pytest.raises(IngleError, match="metadata 'key'"):
        write_gguf(tmp_path / "x.gguf", {"key": value}, [], content({}))
    assert list(tmp_path.iterdir()) == []


def test_safetensors_package_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    specs = [SPECS[0], SPECS[1], TensorSpec("s", "I64", ()), TensorSpec("z", "F16", (0, 4))]
    sizes = {**SIZES, "s": 8, "z": 0}
    write_safetensors(path, {"format": "pt"}, specs, content(sizes))
    tensors = load_file(path)
    for spec in specs:
        assert tensors[spec.name].shape == spec.shape
        assert tensors[spec.name].tobytes() == content(sizes)(spec.name)
    assert dict(SafetensorsFile.open(path).metadata) == {"format": "pt"}


@pytest.mark.parametrize("stop", ["a", "b", "c"])
def test_a_stopped_job_resumes(tmp_path: Path, stop: str) -> None:
    path = tmp_path / "model.safetensors"
    whole = tmp_path / "whole.safetensors"
    write_safetensors(whole, {}, SPECS, content(SIZES))

    def failing(name: str) -> Any:
        yield content(SIZES)(name)[:5]
        if name == stop:
            raise KeyboardInterrupt
        yield content(SIZES)(name)[5:]

    with pytest.raises(KeyboardInterrupt):
        write_safetensors(path, {}, SPECS, failing)
    assert not path.exists()
    calls: list[str] = []
    done: list[int] = []
    write_safetensors(
        path, {}, SPECS, content(SIZES, calls), progress=lambda now, total: done.append(now)
    )
    assert calls == list("abc")["abc".index(stop) :]
    assert path.read_bytes() == whole.read_bytes()
    assert done[-1] == path.stat().st_size
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name, whole.name]


def test_another_job_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(IngleError, match="'b'] data must be 7 bytes for its shape, but got 3"):
        write_safetensors(path, {}, SPECS, content({**SIZES, "b": 3}), job="one")
    with pytest.raises(IngleError, match="'c'] data must be 48 bytes for its shape, but got 50"):
        write_safetensors(path, {}, SPECS, content({**SIZES, "c": 50}), job="one")
    calls: list[str] = []
    write_safetensors(path, {}, SPECS, content(SIZES, calls), job="two")
    assert calls == ["a", "b", "c"]


KILLED = """
import os, sys
from pathlib import Path
from ingle.formats import journal
from ingle.formats.writer import TensorSpec, write_gguf
setattr(journal, sys.argv[2], 0)
def read(name):
    if name == "t3":
        os._exit(9)
    return bytes([int(name[1:])]) * 400
write_gguf(Path(sys.argv[1]), {}, [TensorSpec(f"t{i}", "F32", (100,)) for i in range(6)], read)
"""


@pytest.mark.parametrize("limit", ["SYNC_BYTES", "SYNC_PAUSE_S"])
def test_a_killed_process_resumes(tmp_path: Path, limit: str) -> None:
    path = tmp_path / "model.gguf"
    run = subprocess.run([sys.executable, "-c", KILLED, str(path), limit], check=False)
    assert run.returncode == 9
    assert not path.exists()
    # A power cut may leave unsynced bytes after, and half a line in the journal.
    with (tmp_path / ".model.gguf.partial").open("ab") as partial:
        partial.write(b"torn")
    with (tmp_path / ".model.gguf.journal").open("ab") as lines:
        lines.write(b"99")
    calls: list[str] = []

    def read(name: str) -> bytes:
        calls.append(name)
        return bytes([int(name[1:])]) * 400

    write_gguf(path, {}, [TensorSpec(f"t{i}", "F32", (100,)) for i in range(6)], read)
    assert calls == ["t3", "t4", "t5"]
    file = GgufFile.open(path)
    assert all(set(file.read(f"t{i}").tolist()) == {i} for i in range(6))


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "model.safetensors"

    def read(name: str) -> bytes:
        with pytest.raises(IngleError, match="one writer"):
            write_safetensors(path, {}, SPECS, content(SIZES))
        return content(SIZES)(name)

    write_safetensors(path, {}, SPECS, read)
    assert path.exists()


def test_disk_space_is_checked_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = journal.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(journal.shutil, "disk_usage", lambda _: usage._replace(free=100))
    calls: list[str] = []
    with pytest.raises(IngleError, match=r"disk must have .* bytes free, but got 100"):
        write_safetensors(tmp_path / "x.safetensors", {}, SPECS, content(SIZES, calls))
    assert calls == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TensorSpec("t", "Q4_K", (2, 32)), "rows of Q4_K must be a multiple of 256"),
        (TensorSpec("t", "F33", (2, 32)), "format must be one GGUF has"),
        (TensorSpec("t", "F32", (1, 2, 3, 4, 5)), "shape must have 1 to 4 dimensions"),
        (TensorSpec("t", "F32", (0,)), "shape must have 1 to 4 dimensions"),
        (TensorSpec("t", "F32", (-1,)), "rows of F32 must be"),
    ],
)
def test_specifications_are_checked(tmp_path: Path, spec: TensorSpec, message: str) -> None:
    with pytest.raises(IngleError, match=message):
        write_gguf(tmp_path / "x.gguf", {}, [spec], content({}))
    with pytest.raises(IngleError, match="unique"):
        write_safetensors(tmp_path / "x", {}, [SPECS[0], SPECS[0]], content(SIZES))
