"""A head in two stages: native bits are the reference's, and the rows that are looked at twice
have the bits of the whole head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingle.formats import open_container
from ingle.formats.packed import pack
from ingle.llm import LLM
from ingle.models import load_model
from ingle.ops.count import CountingBackend, count
from ingle.ops.protocol import RESCORED, SCANNED_ROWS

Make = Callable[..., Path]
VOCABULARY = (RESCORED + 3) * SCANNED_ROWS + 7  # a few runs more than are done again


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    made: dict[Path, Path] = {}

    def scanned(source: Path) -> Path:
        if source not in made:
            target = tmp_path_factory.mktemp("scanned") / "model.packed.safetensors"
            made[source] = pack(source, target, head_scan="q4")
        return made[source]

    return scanned


def logits(path: Path, count: int, **options: object) -> np.ndarray:
    ids = np.random.default_rng(5).integers(0, 256, count).tolist()
    with LLM(path, context=256, **options) as llm:  # type: ignore[arg-type]
        return llm.logits(ids)


@pytest.mark.parametrize("threads", [1, 3])
def test_native_bits_are_the_references(
    tiny_llama: Make, models: Callable[[Path], Path], isa: str, threads: int
) -> None:
    scanned = models(tiny_llama(format="Q8_0", vocab=VOCABULARY))
    ours = logits(scanned, 37, threads=threads)
    reference = logits(scanned, 37, backend="reference", emulate="q8")
    np.testing.assert_array_equal(ours, reference)


def test_promising_rows_are_those_of_the_whole_head(
    tiny_llama: Make, models: Callable[[Path], Path], isa: str
) -> None:
    source = tiny_llama(format="Q8_0", vocab=VOCABULARY)
    whole, two_stages = logits(source, 20), logits(models(source), 20)
    same = whole == two_stages
    assert same[np.arange(len(whole)), two_stages.argmax(axis=1)].all()
    runs = np.add.reduceat(same.all(axis=0), np.arange(0, VOCABULARY, SCANNED_ROWS))
    assert runs.sum() < VOCABULARY  # the tail keeps the scan's values
    per_row = same[:, : VOCABULARY // SCANNED_ROWS * SCANNED_ROWS].reshape(
        len(same), -1, SCANNED_ROWS
    )
    assert (per_row.all(axis=2).sum(axis=1) >= RESCORED - 1).all()


def test_a_scan_reads_fewer_bytes_than_the_head(
    tiny_llama: Make, models: Callable[[Path], Path]
) -> None:
    source = tiny_llama(format="F32", vocab=40 * VOCABULARY, layers=1)
    read = {}
    for path in (source, models(source)):
        model = load_model(open_container(path), CountingBackend(), 64)
        read[path] = count(model).weights_read_bytes
    assert read[models(source)] < read[source] / 3
