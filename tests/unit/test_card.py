"""The publisher's card: sizes from the file, quality measured, words that break no table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingle.cli.card import report
from ingle.errors import IngleError
from ingle.formats.synth import synthesize


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("card")
    first = synthesize("tiny-gpt-oss", folder / "first.gguf")
    return first, synthesize("tiny-gpt-oss", folder / "se|cond.gguf", seed=1)


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("It is a truth universally acknowledged that tokens are short. " * 60)
    return str(path)


def test_the_card_of_two_models(
    models: tuple[Path, Path],
    text: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [str(path) for path in models]
    report(names, text, None, 2, None, 1, True)
    first, second = json.loads(capsys.readouterr().out)
    assert first["quality"]["mean_kld"] < second["quality"]["mean_kld"]
    assert first["quality"]["top1_agreement"] > second["quality"]["top1_agreement"]
    assert first["quality"]["num_scored"] == 2 * 255
    for row, path in zip((first, second), models, strict=True):
        assert 0 < row["weights_bytes"] < path.stat().st_size
        bits = 8 * row["weights_bytes"] / row["num_parameters"]
        assert row["bits_per_weight"] == pytest.approx(bits)
        assert row["speed"]["decode_tokens_per_s"] > 0

    report(names[1:], text, names[0], 1, str(tmp_path / "card"), 1, False)
    told = capsys.readouterr().out.split()
    assert told == [str(tmp_path / "card.md"), str(tmp_path / "card.png")]
    page = (tmp_path / "card.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and "| 0.0% |" in rows[2] and "se\\|cond" in rows[3]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "MXFP4" in page and "(card.png)" in page
    assert (tmp_path / "card.png").read_bytes().startswith(b"\x89PNG")


def test_a_text_must_be_given(models: tuple[Path, Path]) -> None:
    with pytest.raises(IngleError, match="text must be given"):
        report([str(models[0])], None, None, 1, None, 1, False)
