"""The native sums of squares equal those of `ops.capture`, and watching changes no bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ingle import _native
from ingle.backends.cpu import CpuBackend
from ingle.backends.cpu.watching import InputSquares, WatchingBackend
from ingle.backends.reference import ReferenceBackend
from ingle.backends.reference.arithmetic import FloatArithmetic
from ingle.backends.reference.forward import ReferenceOps
from ingle.formats import GgufFile
from ingle.formats.synth import synthesize
from ingle.models import load_model
from ingle.models.decoder import Decoder
from ingle.ops import Batch, KvLayout
from ingle.ops.capture import Capture
from ingle.ops.protocol import run_model
from ingle.runtime.kv import KvPool, KvSequence

IDS = list(np.random.default_rng(7).integers(0, 200, 70))
MODELS = ("tiny-gpt-oss", "tiny-llama", "tiny-qwen3", "tiny-qwen3moe", "tiny-gpt2")


@pytest.fixture(scope="module", params=MODELS)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> GgufFile:
    path = tmp_path_factory.mktemp("watching") / "model.gguf"
    return GgufFile.open(synthesize(request.param, path))


def batch(model: Decoder, start: int, rows: list[int]) -> Batch:
    layout = KvLayout(model.attention_shapes)
    pool = KvPool(layout, 128, 128)
    return Batch.chunk(IDS, start, pool, KvSequence(pool), rows)


def captured(file: GgufFile) -> dict[str, InputSquares]:
    """What numpy sees, summed by name; a part of a fused weight counts as the whole's first."""
    model = load_model(file, ReferenceBackend(), 128)
    seen: dict[str, InputSquares] = {}

    def report(part: str, x: NDArray[np.float32], experts: NDArray[np.intp] | None) -> None:
        name, _, rest = part.partition("[")
        if rest and not rest.startswith("0:"):
            return
        size = 1 if experts is None else model.config.num_local_experts  # type: ignore[attr-defined]
        found = seen.setdefault(name, InputSquares.of(size, x.shape[1]))
        ids = np.zeros(len(x), int) if experts is None else experts
        np.add.at(found.sums, ids, x.astype(np.float64) ** 2)
        np.add.at(found.counts, ids, 1)

    ops = ReferenceOps(
        batch(model, 0, list(range(len(IDS)))),
        KvLayout(model.attention_shapes),
        FloatArithmetic(),
    )
    run_model(model, Capture(ops, report))
    return seen


@pytest.mark.parametrize("threads", [1, 2])
def test_sums_are_those_that_numpy_captures(file: GgufFile, threads: int) -> None:
    backend = WatchingBackend(threads, exact=True, outputs=True)
    model = load_model(file, backend, 128)
    backend.forward(model, batch(model, 0, list(range(len(IDS)))))
    expected = captured(file)
    assert backend.squares.keys() == expected.keys()
    for name, found in backend.squares.items():
        np.testing.assert_array_equal(found.counts, expected[name].counts, err_msg=name)
        np.testing.assert_allclose(
            found.sums, expected[name].sums, rtol=2e-4, atol=1e-7, err_msg=name
        )


def test_threads_and_passes_change_no_bit(file: GgufFile) -> None:
    runs = []
    for threads in (1, 2):
        backend = WatchingBackend(threads)
        model = load_model(file, backend, 128)
        for _ in range(2):
            backend.forward(model, batch(model, 0, []))
        runs.append(backend.squares)
    once = WatchingBackend(2)
    model = load_model(file, once, 128)
    once.forward(model, batch(model, 0, []))
    for name, found in runs[0].items():
        np.testing.assert_array_equal(found.sums, runs[1][name].sums, err_msg=name)
        np.testing.assert_array_equal(found.counts, 2 * once.squares[name].counts, err_msg=name)


def test_watched_activations_are_the_unwatched_ones(file: GgufFile) -> None:
    """Keys and values, which every layer below shapes, have the same bits."""
    stores = []
    for backend in (CpuBackend(2), WatchingBackend(2)):
        model = load_model(file, backend, 128)
        pool = KvPool(KvLayout(model.attention_shapes), 128, 128)
        backend.forward(model, Batch.chunk(IDS, 0, pool, KvSequence(pool), []))
        stores.append([*pool.keys, *pool.values])
    for plain, watched in zip(*stores, strict=True):
        np.testing.assert_array_equal(plain, watched)


def test_sums_of_another_shape_are_refused() -> None:
    tape = _native.Tape(_native.Pool(1), _native.best_instruction_set(), 8)
    slot = tape.slot(64, 0)
    with pytest.raises(ValueError, match="sums must be"):
        tape.watch(slot, np.zeros((1, 32)), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="sums must be"):
        tape.watch_experts(slot, np.zeros((2, 64)), np.zeros((2, 64)), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="spent"):
        tape.watch(tape.slot(64, 2), np.zeros((1, 64)), np.zeros(1, np.int64))
