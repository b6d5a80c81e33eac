"""Perplexity and divergence: windows, figures against plain definitions, saved logits."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingle.errors import FileFormatError, IngleError
from ingle.evaluate.divergence import Softmax, SteppedRows, TopRows
from ingle.evaluate.saved_logits import (
    LlamaCppLogitsWriter,
    TopLogitsWriter,
    is_saved_logits,
    open_logits,
)
from ingle.evaluate.score import Evaluation, evaluate
from ingle.evaluate.subject import CHUNK_TOKENS, Subject, pieces
from ingle.evaluate.window import Windows, cut, read_text
from ingle.formats.synth import synthesize

Floats = NDArray[np.float32]


def drawn(rows: int, vocabulary: int, seed: int, spread: float = 4.0) -> Floats:
    logits = np.random.default_rng(seed).standard_normal((rows, vocabulary)) * spread
    return logits.astype(np.float32)


def plain_kld(p: Floats, q: Floats) -> NDArray[np.float64]:
    """The definition, in float64."""
    wide = [x.astype(np.float64) for x in (p, q)]
    logs = [x - np.logaddexp.reduce(x, axis=1)[:, None] for x in wide]
    return np.asarray((np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize("tiny-gpt-oss", tmp_path_factory.mktemp("evaluate") / "model.gguf")


# --- windows ---


@given(st.integers(1, 400), st.integers(4, 64), st.none() | st.integers(1, 8), st.booleans())
def test_windows_lie_side_by_side(count: int, context: int, limit: int | None, bos: bool) -> None:
    ids = list(range(100, 100 + count))
    if count < context:
        with pytest.raises(IngleError, match="must fill a window"):
            cut(ids, context, limit, None)
        return
    windows = cut(ids, context, limit, 7 if bos else None)
    assert len(windows.ids) == min(count // context, limit or count)
    joined = [one for window in windows.ids for one in window]
    expected = ids[: len(joined)]
    if bos:
        expected[::context] = [7] * len(windows.ids)
    assert joined == expected
    assert windows.num_scored == len(windows.ids) * (context - 1 - context // 2)


@given(st.integers(0, 2000), st.integers(0, 1500))
def test_pieces_cover_the_rows_and_stay_in_chunks(start: int, count: int) -> None:
    rows = range(start, start + count)
    found = list(pieces(rows))
    assert [row for piece in found for row in piece] == list(rows)
    for piece in found:
        assert piece.start // CHUNK_TOKENS == (piece.stop - 1) // CHUNK_TOKENS


def test_text_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("één\r\ntwo\n\n".encode())
    assert read_text(path) == "één\r\ntwo\n"
    path.write_bytes(b"ab\xffcd")
    with pytest.raises(IngleError, match="UTF-8, but got another byte at offset 2"):
        read_text(path)
    for wrong in (tmp_path, tmp_path / "missing"):
        with pytest.raises(IngleError, match="must be a file"):
            read_text(wrong)


@pytest.mark.parametrize(("context", "limit"), [(3, None), (0, None), (8, 0), (8, -1)])
def test_impossible_windows_are_refused(context: int, limit: int | None) -> None:
    with pytest.raises(IngleError):
        cut(range(100), context, limit, None)


# --- divergence ---


@given(st.integers(0, 1000), st.floats(0.01, 8.0))
def test_divergence_is_its_definition(seed: int, spread: float) -> None:
    p, q = drawn(5, 300, seed, spread), drawn(5, 300, seed + 1, spread)
    expected = plain_kld(p, q)
    np.testing.assert_allclose(Softmax(p).divergence_to(Softmax(q)), expected, rtol=2e-5, atol=2e-6)
    assert (Softmax(p).divergence_to(Softmax(p)) == 0).all()


def test_stepped_rows_are_what_llama_cpp_sums() -> None:
    p, q = drawn(8, 500, 1), drawn(8, 500, 2)
    rows = SteppedRows.of(Softmax(p))
    assert (rows.top_ids() == p.argmax(axis=1)).all()
    found = rows.divergence_to(Softmax(q))
    np.testing.assert_allclose(found, plain_kld(p, q), rtol=2e-3, atol=2e-3)
    ids = np.arange(8)
    logs = Softmax(p).log_probabilities(ids)
    kept = logs > p.min(axis=1)  # all are: the range is less than 16
    np.testing.assert_allclose(
        rows.log_probabilities(ids)[kept], np.maximum(logs, rows.lowest)[kept], atol=2e-3
    )


def test_top_rows_are_exact_where_all_is_kept() -> None:
    p, q = drawn(6, 40, 3), drawn(6, 40, 4)
    rows = TopRows.of(Softmax(p), np.zeros(6, np.int64), 40)
    np.testing.assert_allclose(rows.divergence_to(Softmax(q)), plain_kld(p, q), atol=2e-4)


def test_the_sample_of_the_tail_is_unbiased() -> None:
    p = drawn(400, 2000, 5, 1.0)
    q = p + drawn(400, 2000, 6, 0.1)
    rows = TopRows.of(Softmax(p), np.zeros(400, np.int64), 32)
    top_mass = np.exp(rows.logs, dtype=np.float64).sum(axis=1)
    assert top_mass.mean() < 0.5  # most of it lies in the tail
    expected, found = plain_kld(p, q).mean(), rows.divergence_to(Softmax(q)).mean()
    assert abs(found / expected - 1) < 0.15
    in_top = (rows.sample_ids[:, :, None] == rows.ids[:, None, :]).any()
    assert not in_top


def test_figures_of_rows() -> None:
    logits = drawn(50, 30, 8)
    ids = list(np.random.default_rng(9).integers(0, 30, 50))
    done = Evaluation()
    done.add(Softmax(logits[:20]), ids[:20], Softmax(logits[:20] * np.float32(0.5)))
    done.add(Softmax(logits[20:]), ids[20:], Softmax(logits[20:] * np.float32(0.5)))
    made = done.summary()
    logs = [float(Softmax(logits).log_probabilities(np.array(ids))[i]) for i in range(50)]
    mean = -sum(logs) / 50
    spread = sum(x * x for x in logs) / 50 - mean * mean
    assert made.perplexity == pytest.approx(math.exp(mean))
    assert made.perplexity_error == pytest.approx(math.exp(mean) * math.sqrt(spread / 49))
    kld = plain_kld(logits * np.float32(0.5), logits)
    assert made.mean_kld == pytest.approx(kld.mean(), rel=1e-4)
    assert made.median_kld == pytest.approx(np.median(kld), rel=1e-4)
    assert made.top1_agreement == 1.0


# --- saved logits ---


def windows_of(count: int, context: int = 8) -> Windows:
    ids = np.random.default_rng(1).integers(0, 90, (count, context))
    return Windows(tuple(tuple(map(int, row)) for row in ids), context)


@pytest.mark.parametrize("kept", [0, 90, 200])
def test_saved_logits_come_back(tmp_path: Path, kept: int) -> None:
    windows, path = windows_of(3), tmp_path / ("l.safetensors" if kept else "l.dat")
    logits = drawn(windows.num_scored, 91, 2)  # an odd vocabulary is padded
    writer = (
        TopLogitsWriter(path, windows, 91, kept)
        if kept
        else LlamaCppLogitsWriter(path, windows, 91)
    )
    with writer as save:
        for start in (0, 3, 6):
            part = Softmax(logits[start : start + 3])
            save.add(part, np.asarray(windows.ids[start // 3][5:], np.int64))
    assert is_saved_logits(path)
    saved = open_logits(path)
    assert saved.vocab_size == 91 and saved.windows == windows
    other = drawn(2, 91, 3)
    rows = saved.rows(1, range(5, 7))
    expected = plain_kld(logits[4:6], other)
    np.testing.assert_allclose(rows.divergence_to(Softmax(other)), expected, atol=3e-3)
    assert (rows.top_ids() == logits[4:6].argmax(axis=1)).all()
    targets = np.array(windows.ids[1][6:8])
    logs = Softmax(logits[4:6]).log_probabilities(targets)
    np.testing.assert_allclose(rows.log_probabilities(targets), logs, atol=2e-3)


def test_an_interrupted_file_does_not_appear(tmp_path: Path) -> None:
    for writer in (
        LlamaCppLogitsWriter(tmp_path / "a.dat", windows_of(1), 90),
        TopLogitsWriter(tmp_path / "b.safetensors", windows_of(1), 90, 4),
    ):
        with pytest.raises(KeyboardInterrupt), writer:
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@given(st.integers(0, 2**32 - 1), st.integers(0, 119), st.integers(0, 255))
def test_a_damaged_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, seed: int, place: int, value: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path, windows = folder / "l.dat", windows_of(2)
    with LlamaCppLogitsWriter(path, windows, 11) as save:
        save.add(Softmax(drawn(6, 11, seed)), np.zeros(6, np.int64))
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] = value
    path.write_bytes(bytes(raw))
    try:
        saved = open_logits(path)
        assert saved.rows(0, saved.windows.scored).top_ids().shape == (len(saved.windows.scored),)
    except IngleError as error:
        assert str(error).startswith("[")


def test_sizes_that_lie_allocate_nothing(tmp_path: Path) -> None:
    path = tmp_path / "l.dat"
    path.write_bytes(b"_logits_" + struct.pack("<3i", 1 << 24, 1 << 24, 1 << 20))
    with pytest.raises(FileFormatError, match="must have"):
        open_logits(path)
    path.write_bytes(b"_logits_" + struct.pack("<3i", 512, 0, 1))
    with pytest.raises(FileFormatError, match="vocabulary"):
        open_logits(path)


# --- models ---


def test_a_model_against_itself_and_against_its_file(tiny: Path, tmp_path: Path) -> None:
    subject, other = (Subject.open(str(tiny), 40, threads=1) for _ in range(2))
    ids = np.random.default_rng(0).integers(0, subject.vocab_size, 120)
    windows = cut([int(x) for x in ids], 40, None, None)
    path = tmp_path / "saved.safetensors"
    with TopLogitsWriter(path, windows, subject.vocab_size, 16) as save:
        first = evaluate(subject, windows, against=other, save=save).summary()
    assert first.mean_kld == 0 and first.top1_agreement == 1
    assert first.perplexity == first.reference_perplexity
    again = evaluate(subject, windows, against=open_logits(path)).summary()
    assert again.mean_kld == pytest.approx(0, abs=1e-6)
    assert again.perplexity == first.perplexity


def test_rows_are_those_of_the_whole_window(tiny: Path) -> None:
    """Perplexity by hand, from logits of every position."""
    subject = Subject.open(str(tiny), 32, threads=1)
    ids = [int(x) for x in np.random.default_rng(3).integers(0, subject.vocab_size, 64)]
    windows = cut(ids, 32, None, None)
    surprises = []
    for window in windows.ids:
        whole = np.concatenate([logits for _, logits in subject.scan(window, range(32))])
        assert whole.shape == (32, subject.vocab_size)
        for position in range(16, 31):
            row = whole[position].astype(np.float64)
            surprises.append(np.logaddexp.reduce(row) - row[window[position + 1]])
    made = evaluate(subject, windows).summary()
    assert made.perplexity == pytest.approx(math.exp(np.mean(surprises)), rel=1e-6)
    assert made.num_scored == 30


def test_another_vocabulary_is_refused(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "saved.dat"
    windows = windows_of(1)
    with LlamaCppLogitsWriter(path, windows, 90) as save:
        save.add(Softmax(drawn(3, 90, 1)), np.zeros(3, np.int64))
    subject = Subject.open(str(tiny), 8, threads=1)
    with pytest.raises(IngleError, match="tokens"):
        evaluate(subject, windows, against=open_logits(path))


def test_json_is_one_object(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ingle.cli.eval import Wishes, evaluate_model

    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog " * 8)
    wishes = Wishes(str(text), 32, 2, str(tiny), None, 8, False, True, 1, "cpu")
    evaluate_model(str(tiny), wishes, True)
    told = json.loads(capsys.readouterr().out)
    assert {"perplexity", "perplexity_error", "mean_kld", "top1_agreement"} <= told.keys()
    assert told["num_windows"] == 2 and told["mean_kld"] >= 0
