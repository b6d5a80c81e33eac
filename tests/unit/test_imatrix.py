"""Importance matrices: llama.cpp's files byte for byte, collecting, resuming, mixing, coverage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.backends.cpu.watching import WatchingBackend
from ingle.cli.imatrix import Wishes
from ingle.cli.imatrix import imatrix as command
from ingle.errors import FileFormatError, IngleError
from ingle.evaluate.subject import Subject
from ingle.formats.synth import synthesize
from ingle.quantize.imatrix import Entry, Imatrix, read_imatrix, write_imatrix
from ingle.quantize.imatrix.calibration import calibration
from ingle.quantize.imatrix.collect import Collection, cold_experts
from ingle.quantize.imatrix.coverage import complaints, coverage, expert_counts
from ingle.quantize.imatrix.merge import Source, merge

GOLDEN = Path(__file__).parent.parent / "golden" / "imatrix"
TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 12


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize("tiny-gpt-oss", tmp_path_factory.mktemp("imatrix") / "model.gguf")


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return str(path)


def opened(tiny: Path, context: int = 32, **wishes: Any) -> Subject:
    return Subject(str(tiny), tiny, WatchingBackend(1, **wishes), context)


def entry(seed: int, matrices: int = 1, columns: int = 4) -> Entry:
    drawn = np.random.default_rng(seed)
    return Entry(drawn.random((matrices, columns)) * 9, drawn.integers(1, 50, matrices) * 1.0)


# --- files ---


@pytest.mark.parametrize("ending", ["gguf", "dat"])
def test_files_of_llama_cpp_come_back_byte_for_byte(tmp_path: Path, ending: str) -> None:
    source = GOLDEN / f"imatrix_example.{ending}"
    target = tmp_path / source.name
    write_imatrix(target, read_imatrix(source))
    assert target.read_bytes() == source.read_bytes()


def test_both_forms_mean_the_same() -> None:
    new, old = (read_imatrix(GOLDEN / f"imatrix_example.{x}") for x in ("gguf", "dat"))
    assert new.entries.keys() == old.entries.keys()
    for name, one in new.entries.items():
        flat = one.importance.reshape(1, -1)
        np.testing.assert_array_equal(flat, old.entries[name].importance)
        shape = (len(one.counts), 7, 4) if len(one.counts) > 1 else (7, 4)
        for form in (new, old):
            found = form.importance(name, shape)
            assert found is not None
            np.testing.assert_array_equal(found, one.importance)


def test_the_gguf_package_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "im.gguf"
    entries = {"blk.1.ffn_down_exps.weight": entry(1, 3), "blk.0.attn_q.weight": entry(2)}
    write_imatrix(path, Imatrix(entries, ("a", "b"), 5, 128, ("0.5 of a", "0.5 of b")))
    reader = gguf.GGUFReader(path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["general.type"] == "imatrix"
    assert fields["imatrix.datasets"] == ["a", "b"]
    assert fields["imatrix.chunk_count"] == 5 and fields["imatrix.chunk_size"] == 128
    assert fields["ingle.imatrix.lineage"] == ["0.5 of a", "0.5 of b"]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert list(tensors) == sorted(tensors, key=lambda name: name.rsplit(".", 1)[0])
    for name, one in entries.items():
        np.testing.assert_array_equal(tensors[f"{name}.in_sum2"].data, one.sums.astype("f4"))
        np.testing.assert_array_equal(
            tensors[f"{name}.counts"].data.reshape(-1), one.counts.astype("f4")
        )
    back = read_imatrix(path)
    assert (back.datasets, back.num_chunks, back.chunk_tokens) == (("a", "b"), 5, 128)
    assert back.lineage == ("0.5 of a", "0.5 of b")


@given(st.data())
def test_damaged_files_end_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    ending = data.draw(st.sampled_from(["gguf", "dat"]))
    raw = bytearray((GOLDEN / f"imatrix_example.{ending}").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    path = tmp_path_factory.mktemp("damaged") / "im"
    path.write_bytes(bytes(raw))
    try:
        for name, one in read_imatrix(path).entries.items():
            assert isinstance(name, str) and np.isfinite(one.sums).all()
    except IngleError as error:
        assert str(error).startswith("[")


def test_another_gguf_file_is_refused(tiny: Path) -> None:
    with pytest.raises(FileFormatError, match=r"general\.type must be imatrix"):
        read_imatrix(tiny)


def test_importance_of_another_shape_is_refused() -> None:
    found = Imatrix({"blk.0.attn_q.weight": entry(1)})
    assert found.importance("blk.0.attn_k.weight", (8, 4)) is None
    with pytest.raises(IngleError, match="made for another model"):
        found.importance("blk.0.attn_q.weight", (8, 5))


# --- collecting ---


def test_a_killed_job_goes_on_to_the_same_bytes(
    tiny: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingle.quantize.imatrix.collect.SAVE_PAUSE_S", 0.0)
    subject = opened(tiny)
    windows = calibration(subject, [text], 32, 6)
    whole = Collection(subject, 32).run(windows)
    write_imatrix(tmp_path / "whole.gguf", whole)

    class Killed(BaseException):
        pass

    def kill(done: int) -> None:
        if done == 4:
            raise Killed

    part = tmp_path / "im.part"
    with pytest.raises(Killed):
        Collection(opened(tiny), 32).run(windows, part=part, tell=kill)
    seen: list[int] = []
    rest = Collection(opened(tiny), 32).run(windows, part=part, tell=seen.append)
    assert seen == [4, 5, 6]  # three windows had reached the disk
    write_imatrix(tmp_path / "rest.gguf", rest)
    assert (tmp_path / "rest.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_a_part_of_another_text_or_a_torn_one_is_not_used(
    tiny: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingle.quantize.imatrix.collect.SAVE_PAUSE_S", 0.0)
    part, seen = tmp_path / "im.part", list[int]()
    subject = opened(tiny)
    Collection(subject, 32).run(calibration(subject, [text], 32, 2), part=part)
    other = calibration(subject, [text], 16, 3)
    Collection(opened(tiny), 16).run(other, part=part, tell=seen.append)
    part.write_bytes(part.read_bytes()[:500])
    Collection(opened(tiny), 16).run(other, part=part, tell=seen.append)
    assert seen == [1, 2, 3, 1, 2, 3]


def test_counts_are_rows_and_experts_share_them(tiny: Path, text: str) -> None:
    subject = opened(tiny, outputs=True)
    found = Collection(subject, 32).run(calibration(subject, [text], 32, 3))
    assert found.num_chunks == 3 and found.chunk_tokens == 32
    for name, one in found.entries.items():
        experts = name.endswith("_exps.weight")
        assert one.counts.sum() == 3 * 32 * (4 if experts else 1), name
        assert len(one.counts) == (8 if experts else 1)
    assert {"output.weight", "blk.0.ffn_gate_inp.weight"} <= found.entries.keys()


def test_transcripts_are_rendered_and_each_begins_anew(tiny: Path, tmp_path: Path) -> None:
    subject = opened(tiny)
    path = tmp_path / "talk.jsonl"
    turns = [
        {"role": "user", "content": "hello " * 6},
        {"role": "assistant", "content": "yes " * 9},
    ]
    path.write_text(json.dumps({"messages": turns}) + "\n\n" + json.dumps(turns) + "\n")
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    subject.source.chat_template = lambda: template  # type: ignore[method-assign]
    windows = calibration(subject, [str(path)], 32, None).windows
    said = subject.tokenizer.decode(windows[0])
    assert said.startswith("<user>hello")
    assert windows[: len(windows) // 2] == windows[len(windows) // 2 :]
    path.write_text("{not json\n")
    with pytest.raises(IngleError, match=r"jsonl:1.*must be JSON"):
        calibration(subject, [str(path)], 32, None)


def test_files_share_the_limit(tiny: Path, tmp_path: Path) -> None:
    subject, files = opened(tiny), []
    for name, times in (("long", 40), ("short", 3)):
        path = tmp_path / f"{name}.txt"
        path.write_text(f"the {name} story " * 8 * times)
        files.append(str(path))
    alone = [calibration(subject, [file], 32, None).windows for file in files]
    dealt = calibration(subject, files, 32, 4).windows
    assert dealt == (*alone[0][:2], *alone[1][:2])
    everything = calibration(subject, files, 32, None).windows
    assert everything == (*alone[0], *alone[1])


def test_cold_experts_are_topped_up(tiny: Path, text: str) -> None:
    subject = opened(tiny)
    collection = Collection(subject, 16)
    windows = calibration(subject, [text], 16, 1)
    found = collection.run(windows)
    cold = cold_experts(found)
    assert cold  # 64 choices among 8 experts of two layers
    more = collection.top_up(windows, found)
    for name, one in found.entries.items():
        gained = more.entries[name].counts - one.counts
        assert (gained >= 0).all()
        assert set(np.flatnonzero(gained)) <= set(cold.get(name, []))
    assert sum(map(len, cold_experts(more).values())) < sum(map(len, cold.values()))
    assert more.lineage and "8 experts per token" in more.lineage[0]


# --- mixing ---


def test_without_weights_sums_and_counts_are_added() -> None:
    a, b = entry(1, 2), entry(2, 2)
    mixed = merge(
        [Source("a", Imatrix({"x": a}, ("t",), 3)), Source("b", Imatrix({"x": b}, ("u",), 4))]
    )
    np.testing.assert_array_equal(mixed.entries["x"].sums, a.sums + b.sums)
    np.testing.assert_array_equal(mixed.entries["x"].counts, a.counts + b.counts)
    assert mixed.datasets == ("t", "u") and mixed.num_chunks == 7


@given(st.integers(0, 99), st.floats(0.1, 5), st.floats(0.1, 5))
def test_with_weights_means_are_mixed(seed: int, first: float, second: float) -> None:
    a, b = entry(seed, 3), entry(seed + 100, 3)
    b.sums[1], b.counts[1] = 0, 0  # an expert that only one text reached
    mixed = merge([Source("a", Imatrix({"x": a}), first), Source("b", Imatrix({"x": b}), second)])
    means = [one.sums / np.maximum(one.counts, 1)[:, None] for one in (a, b)]
    expected = (first * means[0] + second * means[1]) / (first + second)
    expected[1] = means[0][1]
    np.testing.assert_allclose(mixed.entries["x"].importance, expected, rtol=1e-6)
    assert mixed.lineage[0].startswith(f"{first:g} of a")


def test_entries_of_one_text_only_are_kept_and_lineage_is_nested() -> None:
    inner = merge(
        [Source("a", Imatrix({"x": entry(1)}), 1), Source("b", Imatrix({"y": entry(2)}), 1)]
    )
    outer = merge([Source("ab", inner, 0.7), Source("c", Imatrix({"x": entry(3)}), 0.3)])
    assert outer.entries.keys() == {"x", "y"}
    assert [line.startswith("  ") for line in outer.lineage] == [False, True, True, False]


def test_bad_mixtures_are_refused() -> None:
    one = Imatrix({"x": entry(1)})
    for sources in (
        [Source("a", one)],
        [Source("a", one, 1.0), Source("b", one)],
        [Source("a", one, 1.0), Source("b", one, -1.0)],
        [Source("a", one, 1.0), Source("b", one, float("nan"))],
        [Source("a", one), Source("b", Imatrix({"x": entry(2, 1, 8)}))],
    ):
        with pytest.raises(IngleError, match="merge"):
            merge(sources)


# --- what people see ---


def test_coverage_names_what_was_not_seen() -> None:
    counts = np.array([100.0, 0, 3, 97])
    sums = np.ones((4, 6)) * counts[:, None]
    sums[:, 5] *= 50
    found = Imatrix(
        {"blk.10.ffn_down_exps.weight": Entry(sums, counts)}
        | {"blk.2.ffn_down_exps.weight": Entry(sums, counts)}
    )
    first = coverage(found)[0]
    assert first.name == "blk.2.ffn_down_exps.weight"  # layer 2 comes before layer 10
    assert (first.never, first.hardly) == ((1,), (2,))
    assert first.loudest[0] == (5, pytest.approx(50))
    assert expert_counts(found).shape == (2, 4)
    assert "blk.2.ffn_down_exps.weight: experts never seen: 1" in list(complaints(found))


def test_from_text_to_picture(
    tiny: Path, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def wishes(*files: str, out: Path | None = None, preset: str | None = None) -> Wishes:
        return Wishes(files, out and str(out), 32, 2, preset, False, False, False, 1)

    a, mixed, png = tmp_path / "a.gguf", tmp_path / "tri.gguf", tmp_path / "heat.png"
    command([str(tiny)], wishes(text, out=a), None, False)
    files = [f"{label}={text}" for label in ("general", "code", "horror")]
    command([str(tiny)], wishes(*files, out=mixed, preset="tri"), None, False)
    assert [line.split(":")[0] for line in read_imatrix(mixed).lineage] == [
        f"{1 / 3:g} of {label}" for label in ("general", "code", "horror")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gguf", "text.txt", "tri.gguf"]
    command(["merge", f"{a}:0.25", f"{mixed}:0.75"], wishes(out=tmp_path / "m.gguf"), None, False)
    capsys.readouterr()
    command(["show", str(mixed)], wishes(), str(png), True)
    told = json.loads(capsys.readouterr().out)
    assert told["chunks"] == 6 and len(told["entries"]) == 2 * 8
    assert png.read_bytes().startswith(b"\x89PNG")
    for words, rule in ((["show", "a", "b"], "must be MODEL"), (["merge", str(a)], "two matrices")):
        with pytest.raises(IngleError, match=rule):
            command(words, wishes(out=tmp_path / "x.gguf"), None, False)
    with pytest.raises(IngleError, match="horror=FILE"):
        command([str(tiny)], wishes(*files[:2], out=a, preset="tri"), None, False)
