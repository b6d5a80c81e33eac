"""Packed copies that ingle keeps by itself: made once, found again, never believed when stale."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingle import hub
from ingle.errors import IngleError
from ingle.formats import open_container
from ingle.formats.packed import PackedFile
from ingle.formats.synth import synthesize
from ingle.hub import packing, shelf
from ingle.llm import LLM

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of the test's own, for which every model is large enough."""
    monkeypatch.setenv("INGLE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(packing, "WORTH_BYTES", 1)
    return tmp_path / "models"


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return synthesize("tiny-llama", tmp_path / "a.gguf", layout="gguf")


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / ".packed").iterdir()}


def test_a_copy_is_made_once(
    gguf: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shelf.copy_of(gguf) is None
    copy = packing.shelve(gguf)
    assert copy is not None and copy.parent == models / ".packed"
    assert "packing once" in capsys.readouterr().err
    monkeypatch.setattr(packing, "pack", None)  # and never again
    assert packing.shelve(gguf) == packing.make(gguf) == shelf.copy_of(gguf) == copy
    monkeypatch.chdir(gguf.parent)
    assert shelf.copy_of(Path("a.gguf")) == copy
    assert capsys.readouterr().err == ""
    assert isinstance(open_container(copy), PackedFile)


def test_small_models_and_other_containers_are_left_alone(
    gguf: Path, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = synthesize("tiny-llama", tmp_path / "hf", layout="hf")
    assert packing.shelve(folder) is None
    copy = packing.make(gguf)
    assert packing.shelve(copy) is None  # packed already
    shelf.discard(gguf)
    monkeypatch.undo()
    monkeypatch.setenv("INGLE_MODELS", str(models))
    assert packing.shelve(gguf) is None
    assert files(models) == set()


def test_answers_are_the_same_bits(gguf: Path) -> None:
    ids = [3, 1, 4, 1, 5]
    with LLM(gguf) as direct:
        expected = direct.logits(ids)
    packing.make(gguf)
    with LLM(gguf) as llm:
        assert isinstance(llm._source.container, PackedFile)
        np.testing.assert_array_equal(llm.logits(ids), expected)
    with LLM(gguf, packed=False) as llm:
        assert not isinstance(llm._source.container, PackedFile)
    gguf.unlink()
    with LLM(gguf) as llm:
        np.testing.assert_array_equal(llm.logits(ids), expected)


def test_a_changed_source_is_packed_anew(gguf: Path, tmp_path: Path) -> None:
    first = packing.make(gguf)
    other = synthesize("tiny-llama", tmp_path / "b.gguf", layout="gguf", seed=1)
    shutil.copy(other, gguf)
    assert shelf.copy_of(gguf) is None
    second = packing.make(gguf)
    assert second != first
    name = "blk.0.attn_q.weight"
    expected = open_container(other).read(name)
    np.testing.assert_array_equal(open_container(second).read(name), expected)


def test_a_copy_in_an_older_layout_is_made_anew(gguf: Path, models: Path) -> None:
    copy = packing.make(gguf)
    older = copy.rename(copy.with_name("a.v0.packed.safetensors"))
    shelf.keep(gguf, older.name)
    assert packing.shelve(gguf) == copy
    assert files(models) == {copy.name, *(p.name for p in (models / ".packed").glob("*.json"))}


def test_a_damaged_copy_gives_way_to_its_source(gguf: Path) -> None:
    copy = packing.make(gguf)
    with copy.open("r+b") as file:
        file.truncate(copy.stat().st_size - 4096)
    with LLM(gguf) as llm:
        assert not isinstance(llm._source.container, PackedFile)
    gguf.unlink()
    with pytest.raises(IngleError):
        LLM(gguf)


def test_removing_frees_the_copy_and_leaves_what_is_not_ours(gguf: Path, models: Path) -> None:
    size = packing.make(gguf).stat().st_size
    assert hub.remove(str(gguf)) == size
    assert gguf.is_file() and files(models) == set()
    with pytest.raises(IngleError):
        hub.remove(str(gguf))


def test_paths_to_one_file_share_a_copy(gguf: Path, tmp_path: Path, models: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(gguf)
    copy = packing.make(gguf)
    size = copy.stat().st_size
    assert packing.make(link) == copy
    assert shelf.discard(gguf) == 0 and copy.is_file()
    assert shelf.discard(link) == size
    assert files(models) == set()


def test_a_full_disk_is_told_and_no_failure(
    gguf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 1 << 20))
    assert packing.shelve(gguf) is None
    assert "a packed copy needs" in capsys.readouterr().err
    with pytest.raises(IngleError, match="a packed copy needs"):
        packing.make(gguf)


def test_an_interrupted_copy_is_no_copy_and_goes_on(
    gguf: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = packing.pack

    def interrupted(source: Path, target: Path, progress: object, **options: str) -> Path:
        def stop(done: int, total: int) -> None:
            if done > total // 2:
                raise KeyboardInterrupt

        return whole(source, target, stop, **options)

    monkeypatch.setattr(packing, "pack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        packing.make(gguf)
    assert shelf.copy_of(gguf) is None
    (partial,) = (models / ".packed").glob(".*.partial")
    assert partial.stat().st_size > 0
    monkeypatch.setattr(packing, "pack", whole)
    copy = packing.make(gguf)
    assert not partial.exists()
    name = "blk.0.attn_q.weight"
    np.testing.assert_array_equal(open_container(copy).read(name), open_container(gguf).read(name))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(
    text=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner),
            max_leaves=5,
        ).map(lambda value: json.dumps(value).encode()),
        st.fixed_dictionaries(
            {
                "source": st.just("x"),
                "num_bytes": st.integers(0, 9),
                "mtime_ns": st.integers(),
                "file": st.sampled_from(
                    ["../a.gguf", "/x.safetensors", "", ".", "..", "\0.safetensors"]
                ),
            }
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_records_are_not_believed(gguf: Path, text: bytes) -> None:
    gone = gguf.with_name("gone.gguf")
    place = shelf.folder() / f"{shelf.key(gone)}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text)
    assert shelf.copy_of(gone) is None
    list(shelf.records())
    shelf.discard(gone)
    assert gguf.is_file()


def test_listing_says_packed(gguf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ingle.cli.list import show

    packing.make(gguf)
    show(as_json=True)
    assert {"packed_bytes"} <= set(json.loads(capsys.readouterr().out)[0])


def test_show_says_what_is_packed_and_what_it_cost(
    gguf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ingle.cli.show import show

    show(str(gguf), True, False, False)
    assert json.loads(capsys.readouterr().out)["packed"] is None
    plain = packing.make(gguf)
    copy = packing.make(gguf, "q4", "")
    assert copy != plain and not plain.exists() and shelf.copy_of(gguf) == copy
    assert packing.make(gguf, "iq4_nl", "") == copy
    show(str(gguf), True, False, False)
    packed = json.loads(capsys.readouterr().out)["packed"]
    assert packed["head"] == "IQ4_NL" and packed["path"] == str(copy)
    assert packed["price"]["mean_kld"] > 0
    assert packing.shelve(gguf) == copy  # a wish once said stays
