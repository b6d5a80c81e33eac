"""`ingle synth` as a person runs it."""

from __future__ import annotations

from typing import Any

from ingle.formats import GgufFile


def test_synth_writes_a_model_and_prints_its_path(ingle: Any) -> None:
    ended = ingle("synth", "tiny-gpt-oss", "out.gguf", "--layers", "3", "--router-skew", "1.5")
    assert (ended.code, ended.out) == (0, "out.gguf\n")
    assert "synth: writing" in ended.err
    file = GgufFile.open(ingle.folder / "out.gguf")
    assert file.metadata["gpt-oss.block_count"] == 3


def test_synth_writes_folders(ingle: Any) -> None:
    ended = ingle("synth", "tiny-gpt-oss", "out", "--format", "original", "--experts", "5")
    assert ended.code == 0
    names = sorted(path.name for path in (ingle.folder / "out").iterdir())
    assert names == ["config.json", "dtypes.json", "model.safetensors"]


def test_mistakes_end_in_two_lines(ingle: Any) -> None:
    ended = ingle("synth", "gpt-oss:7b", "out.gguf")
    assert ended.code == 2
    assert ended.err.startswith("[name] model must be one of gpt-oss:20b, ")
    ended = ingle("synth", "tiny-llama", "no/such/folder/out.gguf")
    assert ended.code == 2
    assert "folder must be writable" in ended.err
