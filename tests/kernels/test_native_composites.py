"""Every composite on the cpu backend gives the reference's bits: experts, sinks, windows, norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest

from ingle.backends import make_backend
from ingle.numerics import FORMATS
from ingle.ops import (
    Activation,
    AttentionShape,
    Backend,
    Batch,
    Experts,
    KvLayout,
    Linear,
    Moe,
    Norm,
    Ops,
    RopeTable,
    Rotation,
    Routing,
    X,
)
from ingle.runtime.kv import KvPool, KvSequence

CONTEXT = 512


@dataclass(frozen=True)
class Sizes:
    hidden: int = 64
    inner: int = 96
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 32
    window: int = 0
    experts: int = 5
    ranks: int = 2
    vocab: int = 97
    fmt: str = "MXFP4"
    routing: Routing = Routing.SOFTMAX_OF_TOP_K
    activation: Activation = Activation.CLAMPED_SWIGLU
    renormalize: bool = True
    sinks: bool = True
    biases: bool = True
    head_norms: bool = False
    layer_norm: bool = False
    positions: bool = False
    interleaved: bool = False
    dense: bool = False
    up_fmt: str = ""  # of the experts' up projections, if not fmt


class Patchwork:
    """Two layers put together from whatever `Sizes` asks for; the same numbers in any backend."""

    def __init__(self, s: Sizes, backend: Backend) -> None:
        self.s, self.backend = s, backend
        self.rng = np.random.default_rng(3)
        self.vocab_size, self.num_hidden_layers = s.vocab, 2
        self.max_position_embeddings = CONTEXT
        self.attention_shapes = [
            AttentionShape(i, s.heads, s.kv_heads, s.head_dim, s.window if i == 0 else 0)
            for i in range(2)
        ]
        rope = RopeTable(
            (1 / 10000 ** (np.arange(s.head_dim // 2) / (s.head_dim // 2))).astype(np.float32),
            CONTEXT,
            magnitude=1.2,
            interleaved=s.interleaved,
        )
        q_norm = k_norm = None
        if s.head_norms:
            q_norm, k_norm = (Norm(self.vector(s.head_dim, 1), 1e-6) for _ in range(2))
        self.rotation = Rotation(None if s.positions else rope, q_norm, k_norm)
        self.table = self.weight((s.vocab, s.hidden), "F16")
        self.places = self.weight((CONTEXT, s.hidden), "F32") if s.positions else None
        self.layers = [self.make_layer() for _ in range(2)]
        self.final = self.norm()
        self.lm_head = Linear(self.weight((s.vocab, s.hidden), s.fmt if s.hidden % 32 else "Q8_0"))

    def weight(self, shape: tuple[int, ...], fmt: str) -> Any:
        values = self.rng.standard_normal(shape).astype(np.float32) / np.sqrt(shape[-1])
        if fmt in ("F32", "F16"):
            data = values.astype(fmt.replace("F", "f").replace("f", "float")).view(np.uint8)
        else:
            data = gguf.quants.quantize(values, gguf.GGMLQuantizationType[fmt])
        return self.backend.matrix("w", FORMATS[fmt], data)

    def vector(self, *shape_and_mean: int) -> Any:
        *shape, mean = shape_and_mean
        return self.backend.vector("v", self.rng.normal(mean, 0.3, shape).astype(np.float32))

    def norm(self) -> Norm:
        width = self.s.hidden
        bias = self.vector(width, 0) if self.s.layer_norm else None
        return Norm(self.vector(width, 1), 1e-5, bias)

    def linear(self, rows: int, columns: int, fmt: str | None = None) -> Linear:
        bias = self.vector(rows, 0) if self.s.biases else None
        return Linear(self.weight((rows, columns), fmt or self.s.fmt), bias)

    def experts(self, rows: int, columns: int, fmt: str = "") -> Experts:
        count = self.s.experts
        bias = self.vector(count, rows, 0) if self.s.biases else None
        return Experts(self.weight((count, rows, columns), fmt or self.s.fmt), bias)

    def make_layer(self) -> dict[str, Any]:
        s = self.s
        layer: dict[str, Any] = {
            "norms": (self.norm(), self.norm()),
            "qkv": [
                self.linear(heads * s.head_dim, s.hidden)
                for heads in (s.heads, s.kv_heads, s.kv_heads)
            ],
            "out": self.linear(s.hidden, s.heads * s.head_dim),
            "sinks": self.vector(s.heads, 0) if s.sinks else None,
        }
        if s.dense:
            gated = s.activation is not Activation.GELU_TANH
            layer["mlp"] = (
                self.linear(s.inner, s.hidden) if gated else None,
                self.linear(s.inner, s.hidden),
                self.linear(s.hidden, s.inner),
            )
        else:
            stacks = (
                self.experts(s.inner, s.hidden),
                self.experts(s.inner, s.hidden, s.up_fmt),
                self.experts(s.hidden, s.inner),
            )
            router = self.linear(s.experts, s.hidden, "F32")
            layer["moe"] = Moe(
                router, *stacks, s.experts, s.ranks, s.routing, s.activation, s.renormalize
            )
        return layer

    def embed(self, ops: Ops[X]) -> X:
        return ops.embed(self.table, self.places)

    def layer(self, ops: Ops[X], index: int, x: X) -> X:
        w = self.layers[index]
        q, k, v = ops.qkv(x, w["norms"][0], *w["qkv"])
        a = ops.attention(q, k, v, self.attention_shapes[index], self.rotation, w["sinks"])
        x = ops.attention_out(x, a, w["out"])
        if self.s.dense:
            return ops.mlp(x, w["norms"][1], *w["mlp"], self.s.activation)
        return ops.moe(x, w["norms"][1], w["moe"])

    def head(self, ops: Ops[X], x: X) -> X:
        return ops.logits(x, self.final, self.lm_head)


def run(
    s: Sizes, backend: Backend, ids: Sequence[int], chunk: int = 64, ranks: int | None = None
) -> np.ndarray:
    """Logits of all ids, chunk by chunk."""
    model = Patchwork(s, backend)
    layout = KvLayout(model.attention_shapes)
    pool = KvPool(layout, CONTEXT, chunk, kv_type=backend.kv_type)
    view = KvSequence(pool)
    out = []
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        batch = Batch.chunk(part, start, pool, view, range(len(part)), ranks)
        out.append(backend.forward(model, batch))
    return np.concatenate(out)


def ids_of(count: int) -> list[int]:
    return np.random.default_rng(count).integers(0, 97, count).tolist()


CASES: dict[str, Sizes] = {
    "gpt-oss": Sizes(window=24),
    "gpt-oss Q4_1": Sizes(fmt="Q4_1", window=100, kv_heads=6, experts=32, ranks=4),
    "qwen3moe": Sizes(
        fmt="Q8_0", routing=Routing.TOP_K_OF_SOFTMAX, activation=Activation.SILU, sinks=False,
        biases=False, head_norms=True, experts=19, ranks=3,
    ),
    "softmax kept": Sizes(routing=Routing.TOP_K_OF_SOFTMAX, renormalize=False, ranks=5),
    "float experts": Sizes(fmt="F16", experts=3, ranks=1),
    "mixed experts": Sizes(fmt="Q8_0", up_fmt="F16"),
    "mixed experts, float first": Sizes(fmt="F32", up_fmt="Q4_1"),
    "gpt2": Sizes(
        fmt="F32", dense=True, activation=Activation.GELU_TANH, layer_norm=True, positions=True,
        sinks=False, hidden=80, heads=5, kv_heads=5, head_dim=16,
    ),
    "gpt2 Q8_0": Sizes(
        fmt="Q8_0", dense=True, activation=Activation.GELU_TANH, layer_norm=True, positions=True,
        sinks=False,
    ),
    "biased swiglu": Sizes(fmt="Q8_0", dense=True, interleaved=True),
}  # fmt: skip


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Sizes:
    return CASES[request.param]


def cpu(threads: int = 2, exact: bool = False) -> Backend:
    return make_backend("cpu", threads, exact=exact)


def test_bits_of_the_reference(case: Sizes, isa: str) -> None:
    ids = ids_of(150)
    expected = run(case, make_backend("reference", emulate="q8"), ids)
    np.testing.assert_array_equal(run(case, cpu(), ids), expected)


@pytest.mark.parametrize("chunk", [1, 7, 64, 128, 129])
def test_chunks_and_threads_change_no_bit(case: Sizes, isa: str, chunk: int) -> None:
    ids = ids_of(150)
    whole = run(case, cpu(1), ids, chunk=150)
    for threads in (1, 2):
        np.testing.assert_array_equal(run(case, cpu(threads), ids, chunk=chunk), whole)


@pytest.mark.parametrize("ranks", [1, 3, 5])
def test_experts_per_token_of_a_request(isa: str, ranks: int) -> None:
    case, ids = CASES["gpt-oss"], ids_of(70)
    expected = run(case, make_backend("reference", emulate="q8"), ids, ranks=ranks)
    np.testing.assert_array_equal(run(case, cpu(), ids, ranks=ranks), expected)
    changed = replace(case, ranks=ranks)
    np.testing.assert_array_equal(run(changed, cpu(), ids), expected)


def test_exact_stays_near_float(case: Sizes, isa: str) -> None:
    ids = ids_of(70)
    expected = run(case, make_backend("reference"), ids)
    error = np.abs(run(case, cpu(exact=True), ids) - expected).max() / expected.std()
    assert error < 1e-4


def test_several_sequences_in_one_batch(case: Sizes, isa: str) -> None:
    backend, ids = cpu(), ids_of(40)
    model = Patchwork(case, backend)
    alone = run(case, cpu(), ids)
    layout = KvLayout(model.attention_shapes)
    pool = KvPool(layout, CONTEXT, 64)

    @dataclass
    class View:  # a second sequence in the upper half of the pages
        offset: int

        def page_table(self, group: int) -> np.ndarray:
            return np.arange(2, dtype=np.int32) + self.offset

    batch = Batch(
        np.array(ids + ids[:9], np.int32),
        np.array([*range(40), *range(9)], np.int32),
        np.array([0] * 40 + [1] * 9, np.int32),
        np.arange(49, dtype=np.int32),
        pool,
        (View(0), View(2)),
    )
    got = backend.forward(model, batch)
    np.testing.assert_array_equal(got, np.concatenate([alone, alone[:9]]))


def test_ties_go_to_the_lower_expert(isa: str) -> None:
    class Zeroed(Patchwork):
        def linear(self, rows: int, columns: int, fmt: str | None = None) -> Linear:
            made = super().linear(rows, columns, fmt)
            if fmt != "F32":
                return made
            zeros = np.zeros((rows, columns * 4), np.uint8)
            return Linear(self.backend.matrix("router", FORMATS["F32"], zeros))

    ids = ids_of(5)
    results = []
    for backend in (cpu(), make_backend("reference", emulate="q8")):
        model = Zeroed(Sizes(), backend)
        pool = KvPool(KvLayout(model.attention_shapes), CONTEXT, 64)
        batch = Batch.chunk(ids, 0, pool, KvSequence(pool), range(5))
        results.append(backend.forward(model, batch))
    np.testing.assert_array_equal(*results)


def test_keys_and_values_beyond_float16_are_its_largest(isa: str) -> None:
    class Loud(Patchwork):
        def vector(self, *shape_and_mean: int) -> Any:
            *shape, mean = shape_and_mean
            factor = 1 if mean else 1e6
            values = self.rng.normal(mean, 0.3, shape).astype(np.float32) * np.float32(factor)
            return self.backend.vector("v", values)

    ids, results = ids_of(70), []
    for backend in (cpu(), make_backend("reference", emulate="q8")):
        model = Loud(Sizes(), backend)
        pool = KvPool(KvLayout(model.attention_shapes), CONTEXT, 128)
        batch = Batch.chunk(ids, 0, pool, KvSequence(pool), range(70))
        results.append(backend.forward(model, batch))
        assert max(np.abs(keys).max() for keys in pool.keys) == 65504
    assert np.isfinite(results[0]).all()
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_pages_hold_the_same_numbers_in_any_backend(isa: str, kv_type: str) -> None:
    case, ids, stores = CASES["gpt-oss"], ids_of(80), []
    for backend in (cpu(), make_backend("reference", emulate="q8")):
        model = Patchwork(case, backend)
        pool = KvPool(KvLayout(model.attention_shapes), CONTEXT, 128, kv_type=kv_type)
        backend.forward(model, Batch.chunk(ids, 0, pool, KvSequence(pool), [79]))
        stores.append([*pool.keys, *pool.values])
    for ours, expected in zip(*stores, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_pages_of_another_type_are_refused() -> None:
    backend = cpu()
    model = Patchwork(Sizes(), backend)
    pool = KvPool(KvLayout(model.attention_shapes), 64, 64)
    for dtypes in ((np.float64, np.float64), (np.int16, np.int16), (np.float16, np.float32)):
        keys = [array.astype(dtypes[0]) for array in pool.keys]
        values = [array.astype(dtypes[1]) for array in pool.values]
        store = SimpleNamespace(keys=keys, values=values)
        with pytest.raises(ValueError, match=r"keys and values must be"):
            backend.forward(model, Batch.chunk([1], 0, store, KvSequence(pool), [0]))


def test_bad_batches_raise_before_any_work(isa: str) -> None:
    backend: Callable[..., Any] = cpu().forward
    model = Patchwork(Sizes(), cpu())
    pool = KvPool(KvLayout(model.attention_shapes), 64, 64)
    view = KvSequence(pool)
    for ids, start, ranks in (([97], 0, None), ([-1], 0, None), ([1], 600, None), ([1], 0, 6)):
        with pytest.raises(ValueError, match=r"vocabulary|position|experts"):
            backend(model, Batch.chunk(ids, start, pool, view, [0], ranks))
