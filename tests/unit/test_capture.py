"""Inputs of matrices are reported as they are, and watching changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ingle.backends.reference import ReferenceBackend
from ingle.backends.reference.arithmetic import FloatArithmetic
from ingle.backends.reference.forward import ReferenceOps
from ingle.formats import GgufFile
from ingle.formats.synth import synthesize
from ingle.models import load_model
from ingle.numerics import FORMATS, decode
from ingle.ops import Batch, KvLayout, Model
from ingle.ops.capture import Capture
from ingle.ops.protocol import run_model
from ingle.runtime.kv import KvPool, KvSequence

IDS = [3, 1, 4, 1, 5, 9, 2, 6]
LAYERS, HIDDEN, EXPERTS, TOP_K = 2, 64, 8, 4
Seen = tuple[str, NDArray[np.float32], NDArray[np.intp] | None]


class Run:
    """One chunk through a synthetic gpt-oss, watched."""

    def __init__(self, path: Path) -> None:
        self.file = GgufFile.open(path)
        self.backend = ReferenceBackend()
        self.model = load_model(self.file, self.backend, 64)
        self.seen: list[Seen] = []
        inner = ReferenceOps(self.batch(), self.layout, FloatArithmetic())
        watched = Capture(inner, lambda name, x, ids: self.seen.append((name, x.copy(), ids)))
        self.logits = run_model(self.model, watched)

    @property
    def layout(self) -> KvLayout:
        return KvLayout(self.model.attention_shapes)

    def batch(self) -> Batch:
        pool = KvPool(self.layout, 64, 64)
        return Batch.chunk(IDS, 0, pool, KvSequence(pool), [len(IDS) - 1])

    def weights(self, name: str) -> NDArray[np.float32]:
        return decode(FORMATS[self.file.tensors[name].format], self.file.read(name))

    def inputs(self, name: str) -> list[Seen]:
        return [seen for seen in self.seen if seen[0] == name]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(synthesize("tiny-gpt-oss", tmp_path_factory.mktemp("capture") / "model.gguf"))


def test_watching_changes_no_bit(run: Run) -> None:
    model: Model = run.model
    assert np.array_equal(run.logits, run.backend.forward(model, run.batch()))


def test_every_matrix_is_reported_and_nothing_else(run: Run) -> None:
    matrices = {name for name, info in run.file.tensors.items() if len(info.shape) > 1}
    matrices -= {name for name in matrices if name.endswith(".bias")} | {"token_embd.weight"}
    assert {name for name, _, _ in run.seen} == matrices
    for name, x, ids in run.seen:
        rows = 1 if name == "output.weight" else len(IDS)
        assert x.shape == (rows, run.file.tensors[name].shape[-1])
        assert (ids is None) == ("_exps" not in name)


def test_sum_of_squares_of_the_first_layer_by_hand(run: Run) -> None:
    x = run.weights("token_embd.weight")[IDS].astype(np.float64)
    normed = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5)
    expected = ((normed * run.weights("blk.0.attn_norm.weight")) ** 2).sum(axis=0)
    for part in "qkv":
        ((_, seen, _),) = run.inputs(f"blk.0.attn_{part}.weight")
        assert (seen**2).sum(axis=0) == pytest.approx(expected, rel=1e-4)


def test_experts_are_those_the_router_chose(run: Run) -> None:
    for layer in range(LAYERS):
        ((_, x, _),) = run.inputs(f"blk.{layer}.ffn_gate_inp.weight")
        weight = run.weights(f"blk.{layer}.ffn_gate_inp.weight")
        logits = x @ weight.T + run.weights(f"blk.{layer}.ffn_gate_inp.bias")
        chosen = np.argsort(-logits, axis=1, kind="stable")[:, :TOP_K]
        for part in ("gate", "up", "down"):
            reports = run.inputs(f"blk.{layer}.ffn_{part}_exps.weight")
            assert np.array_equal(np.stack([ids for _, _, ids in reports], axis=1), chosen)
        for _, seen, _ in run.inputs(f"blk.{layer}.ffn_up_exps.weight"):
            assert np.array_equal(seen, x)  # the router and its experts have one input


def test_sum_of_squares_per_expert_of_the_down_matrices_by_hand(run: Run) -> None:
    sums = np.zeros((EXPERTS, 96))
    for _, x, ids in run.inputs("blk.1.ffn_down_exps.weight"):
        np.add.at(sums, ids, x.astype(np.float64) ** 2)
    expected = np.zeros_like(sums)
    for _, x, ids in run.inputs("blk.1.ffn_gate_exps.weight"):
        assert ids is not None
        for row, expert in zip(x.astype(np.float64), ids, strict=True):
            gate, up = (
                run.weights(f"blk.1.ffn_{half}_exps.weight")[expert] @ row
                + run.weights(f"blk.1.ffn_{half}_exps.bias")[expert]
                for half in ("gate", "up")
            )
            gate, up = np.minimum(gate, 7), np.clip(up, -7, 7)
            expected[expert] += (gate / (1 + np.exp(-1.702 * gate)) * (up + 1)) ** 2
    assert sums == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", ["gpt-oss", "qwen3moe", "qwen3", "llama", "gpt2"])
def test_synthetic_weights_keep_activations_in_scale(tmp_path: Path, name: str) -> None:
    run = Run(synthesize(f"tiny-{name}", tmp_path / "model.gguf", layers=12))
    assert np.isfinite(run.logits).all()
    assert 0.5 < run.logits.std() < 8
    for weight, x, _ in run.seen:
        assert 0.02 < x.std() < 4, weight
    routed = [ids for weight, _, ids in run.seen if "up_exps" in weight]
    assert all(ids is not None and len(set(ids.tolist())) > 1 for ids in routed)
