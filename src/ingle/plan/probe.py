"""Owns measuring what this machine's kernels reach, by timing small models of one kind of work.

A probe runs through the backend as a model does, so its rates are those of the kernels installed
now. It does not know real models, nor where rates are kept.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingle import _native
from ingle.backends.cpu import CpuBackend
from ingle.numerics import FORMATS, encode
from ingle.numerics.int8 import quantize
from ingle.numerics.int8_blocks import INT8, joined
from ingle.ops import (
    PAGE_TOKENS,
    USUAL_KV_TYPE,
    Activation,
    AttentionShape,
    Batch,
    Experts,
    KvArray,
    KvLayout,
    Linear,
    Moe,
    Norm,
    Ops,
    RopeTable,
    Rotation,
    Routing,
    Weight,
    kv_dtype,
)
from ingle.ops.protocol import X
from ingle.plan.kernels import ATTENTION, EXPERTS, WINDOWED, Kernel, Kernels, as_object

CHUNK_TOKENS = 512  # of a prompt's step
USUAL = ("F32", "BF16", "Q8_0", "Q4_1", "Q4_K", "Q6_K", "MXFP4" + EXPERTS)
# Multiplied alike, so that one measurement tells of both.
_ALIKE = {"F16": "F32", "Q4_0": "Q4_1", "IQ4_NL": "Q4_1", "MXFP4": "MXFP4" + EXPERTS}
_ALIKE |= dict.fromkeys(("Q5_0", "Q5_1", "Q6_0", "Q5_K", "IQ4_XS"), "Q4_K")
_ALIKE |= dict.fromkeys(("Q2_K", "Q3_K"), "Q6_K")
_USUAL_BYTES = 64 << 20
BEYOND_CACHE_BYTES = 192 << 20
_VOCABULARY = 64
WIDTH, INNER = 1024, 3072  # of a usual small model, where nothing else is known
_EXPERTS, _EXPERTS_PER_TOK = 32, 4
_HEADS, _KV_HEADS, _HEAD_DIM, _WINDOW = 32, 8, 64, 128  # four queries share a key, as usual
_FAR_TOKENS, _ATTENTION_LAYERS = 4096, 4
_TINY_LAYERS = 64
_SEED = 20250805
_KV_DTYPE = kv_dtype(USUAL_KV_TYPE)


class Layer(Protocol):
    """One layer of a probe."""

    @property
    def shape(self) -> AttentionShape | None:
        """Of its attention, if it has any."""

    def run(self, ops: Ops[X], x: X) -> X:
        """Its composites."""


class Probe:
    """A `Model` of the given layers and no more than it must have besides."""

    vocab_size = _VOCABULARY

    def __init__(
        self, make: Maker, width: int, layers: Sequence[Layer], context: int = 512
    ) -> None:
        self._backend, self._layers = make.backend, layers
        self._table, self._norm = make.matrix("F32", _VOCABULARY, width), make.norm(width)
        self.num_hidden_layers = len(layers)
        self.max_position_embeddings = context
        self.attention_shapes = [layer.shape for layer in layers if layer.shape is not None]

    def embed(self, ops: Ops[X]) -> X:
        """Rows of a small table."""
        return ops.embed(self._table)

    def layer(self, ops: Ops[X], index: int, x: X) -> X:
        """One of the layers."""
        return self._layers[index].run(ops, x)

    def head(self, ops: Ops[X], x: X) -> X:
        """A small output matrix."""
        return ops.logits(x, self._norm, Linear(self._table))

    def seconds(self, tokens: int, start: int = 0, repeats: int = 3) -> float:
        """Median of so many steps of `tokens` tokens from position `start`, after one to warm."""
        store = _Pages(KvLayout(self.attention_shapes), self.max_position_embeddings)
        draw = np.random.default_rng(_SEED)
        found = []
        for _ in range(repeats + 1):
            ids = draw.integers(0, _VOCABULARY, tokens).tolist()
            batch = Batch.chunk(ids, start, store, store, [tokens - 1])
            begun = time.perf_counter()
            self._backend.forward(self, batch)
            found.append(time.perf_counter() - begun)
        return statistics.median(found[1:])


class _Pages:
    """Keys and values of one sequence, all positions; its own view."""

    def __init__(self, layout: KvLayout, context: int) -> None:
        self._table = np.arange(-(-context // PAGE_TOKENS), dtype=np.int32)
        self.keys: list[KvArray] = []
        self.values: list[KvArray] = []
        for group in layout.groups:
            lead = (len(group.layers), len(self._table), group.num_key_value_heads)
            self.keys.append(np.ones((*lead, group.head_dim, PAGE_TOKENS), _KV_DTYPE))
            self.values.append(np.ones((*lead, PAGE_TOKENS, group.head_dim), _KV_DTYPE))

    def page_table(self, group: int) -> NDArray[np.int32]:
        """Positions in order."""
        return self._table


class Maker:
    """Makes weights of probes: a few encoded rows over and over, which costs no time."""

    def __init__(self, backend: CpuBackend) -> None:
        self.backend = backend
        self.packed_bytes, self.packing_s = 0, 0.0
        self._draw = np.random.default_rng(_SEED)

    def rows(self, fmt: str, rows: int, columns: int) -> NDArray[np.uint8]:
        """Encoded rows (rows, row_bytes)."""
        some = self._draw.normal(size=(16, columns)).astype(np.float32)
        if FORMATS[fmt].encode is not None:
            data = np.asarray(encode(FORMATS[fmt], some)).reshape(16, -1)
        elif fmt == INT8.name:
            rounded = quantize(some)
            data = joined(rounded.codes, rounded.scale)
        else:
            data = np.asarray(_native.encode_rows(fmt, some, None, False, 1)[0], np.uint8)
        return np.tile(data, (-(-rows // 16), 1))[:rows]

    def matrix(self, fmt: str, rows: int, columns: int, stack: int = 0) -> Weight:
        """A matrix, or a stack of `stack` matrices."""
        data = self.rows(fmt, rows, columns)
        if stack:
            data = np.tile(data, (stack, 1, 1))
        begun = time.perf_counter()
        made = self.backend.matrix("probe", FORMATS[fmt], data)
        self.packing_s += time.perf_counter() - begun
        self.packed_bytes += made.meta.nbytes
        return made

    def linear(self, fmt: str, rows: int, columns: int) -> Linear:
        """Without a bias."""
        return Linear(self.matrix(fmt, rows, columns))

    def norm(self, width: int) -> Norm:
        """Of ones."""
        return Norm(self.backend.vector("probe", np.ones(width, np.float32)), 1e-5)


class _MlpLayer:
    shape = None

    def __init__(self, make: Maker, fmt: str, width: int, inner: int) -> None:
        self._norm = make.norm(width)
        self._gate, self._up = (make.linear(fmt, inner, width) for _ in range(2))
        self._down = make.linear(fmt, width, inner)

    def run(self, ops: Ops[X], x: X) -> X:
        return ops.mlp(x, self._norm, self._gate, self._up, self._down)


class _MoeLayer:
    shape = None

    def __init__(self, make: Maker, fmt: str, width: int, inner: int) -> None:
        self._norm = make.norm(width)
        gate, up = (Experts(make.matrix(fmt, inner, width, _EXPERTS)) for _ in range(2))
        down = Experts(make.matrix(fmt, width, inner, _EXPERTS))
        self._moe = Moe(
            self._router(make, width),
            gate,
            up,
            down,
            _EXPERTS,
            _EXPERTS_PER_TOK,
            Routing.SOFTMAX_OF_TOP_K,
            Activation.CLAMPED_SWIGLU,
        )

    @staticmethod
    def _router(make: Maker, width: int) -> Linear:
        """Rows that differ: tokens go to all experts."""
        values = np.random.default_rng(_SEED).normal(size=(_EXPERTS, width)).astype(np.float32)
        return Linear(make.backend.matrix("probe", FORMATS["F32"], values.view(np.uint8)))

    def run(self, ops: Ops[X], x: X) -> X:
        return ops.moe(x, self._norm, self._moe)


class _AttentionLayer:
    def __init__(
        self,
        make: Maker,
        index: int,
        heads: int,
        kv_heads: int,
        dim: int,
        window: int,
        rope: RopeTable,
    ) -> None:
        self.shape = AttentionShape(index, heads, kv_heads, dim, window)
        self._norm, self._rotation = make.norm(32), Rotation(rope)
        self._q = make.linear("Q8_0", heads * dim, 32)
        self._k, self._v = (make.linear("Q8_0", kv_heads * dim, 32) for _ in range(2))
        self._out = make.linear("Q8_0", 32, heads * dim)

    def run(self, ops: Ops[X], x: X) -> X:
        q, k, v = ops.qkv(x, self._norm, self._q, self._k, self._v)
        return ops.attention_out(x, ops.attention(q, k, v, self.shape, self._rotation), self._out)


def measure(
    backend: CpuBackend,
    names: Iterable[str],
    width: int = WIDTH,
    inner: int = INNER,
    nbytes: int = BEYOND_CACHE_BYTES,
) -> Kernels:
    """Rates of the kernels of these names; overheads and attention always. Some seconds.

    width, inner, nbytes: of the model that it is for: narrow ones spend more beside their
    matrices, small ones stay in a cache. Probes are not larger than BEYOND_CACHE_BYTES need be.
    """
    layer_s, step_s = _overheads(backend)
    found = {}
    for name in names:
        make = _experts if name.endswith(EXPERTS) else _dense
        probe = make(
            backend, name.removesuffix(EXPERTS), width, inner, min(nbytes, BEYOND_CACHE_BYTES)
        )
        found[name] = probe.kernel(step_s, layer_s)
    return Kernels(found | _attention(backend), layer_s, step_s)


def measure_usual(backend: CpuBackend) -> Kernels:
    """Rates of all kernels, for models that nobody has named yet."""
    found = measure(backend, USUAL, nbytes=_USUAL_BYTES)
    alike = {name: found.of[other] for name, other in _ALIKE.items()}
    return replace(found, of={**found.of, **alike})


@dataclass(frozen=True)
class _Matrices:
    """A probe of matrices: layers, bytes that a token reads, operations of a token, and the rate
    at which its weights were brought into the kernel layout."""

    probe: Probe
    layers: int
    read_bytes: float
    flops: int
    repack_bytes_per_s: float

    def kernel(self, step_s: float, layer_s: float) -> Kernel:
        """Rates, without what any step takes."""
        besides = step_s + self.layers * layer_s
        one, chunk = (self.probe.seconds(n, repeats=r) for n, r in ((1, 15), (CHUNK_TOKENS, 4)))
        one, chunk = (max(seconds - besides, seconds / 2) for seconds in (one, chunk))
        ops_per_s = CHUNK_TOKENS * self.flops / chunk
        return Kernel(self.read_bytes / one, ops_per_s, self.repack_bytes_per_s)


def _whole_blocks(fmt: str, columns: int) -> int:
    """Tensors whose rows are not whole blocks have another format; the probe has the next width."""
    block = FORMATS[fmt].block
    return -(-columns // block) * block


def _dense(backend: CpuBackend, fmt: str, width: int, inner: int, wanted: int) -> _Matrices:
    make = Maker(backend)
    width, inner = _whole_blocks(fmt, width), _whole_blocks(fmt, inner)
    layers = [_MlpLayer(make, fmt, width, inner)]
    count = -(-wanted // make.packed_bytes)
    layers += [_MlpLayer(make, fmt, width, inner) for _ in range(count - 1)]
    repack = make.packed_bytes / make.packing_s
    flops = 6 * width * inner * count
    return _Matrices(Probe(make, width, layers), count, make.packed_bytes, flops, repack)


def _experts(backend: CpuBackend, fmt: str, width: int, inner: int, wanted: int) -> _Matrices:
    """A token of random experts finds little of them in a cache that is smaller than all."""
    make = Maker(backend)
    width, inner = _whole_blocks(fmt, width), _whole_blocks(fmt, inner)
    layers = [_MoeLayer(make, fmt, width, inner)]
    count = max(2, -(-2 * wanted // make.packed_bytes))  # one layer is a short step
    layers += [_MoeLayer(make, fmt, width, inner) for _ in range(count - 1)]
    repack = make.packed_bytes / make.packing_s
    flops = 6 * width * inner * _EXPERTS_PER_TOK * count
    read = make.packed_bytes * _EXPERTS_PER_TOK / _EXPERTS
    return _Matrices(Probe(make, width, layers), count, read, flops, repack)


def _attention(backend: CpuBackend) -> dict[str, Kernel]:
    """Arithmetic is told of a prompt, with and without windows; reading of one far token."""
    full, windowed = (_attention_probe(backend, window) for window in (0, _WINDOW))
    near, far = (full.seconds(1, start, repeats=15) for start in (0, _FAR_TOKENS - 1))
    token_bytes = _ATTENTION_LAYERS * 2 * _KV_HEADS * _HEAD_DIM * _KV_DTYPE.itemsize
    nbytes = token_bytes * (_FAR_TOKENS - 1)
    read = nbytes / max(far - near, 1e-7)
    flops = _ATTENTION_LAYERS * 4 * _HEADS * _HEAD_DIM
    pairs = CHUNK_TOKENS * (CHUNK_TOKENS + 1) // 2
    beyond = CHUNK_TOKENS - _WINDOW
    pairs_in_windows = pairs - beyond * (beyond + 1) // 2
    return {
        ATTENTION: Kernel(read, flops * pairs / full.seconds(CHUNK_TOKENS)),
        WINDOWED: Kernel(read, flops * pairs_in_windows / windowed.seconds(CHUNK_TOKENS)),
    }


def _attention_probe(backend: CpuBackend, window: int) -> Probe:
    make, rope = Maker(backend), RopeTable(np.ones(_HEAD_DIM // 2, np.float32), _FAR_TOKENS)
    layers = [
        _AttentionLayer(make, i, _HEADS, _KV_HEADS, _HEAD_DIM, window, rope)
        for i in range(_ATTENTION_LAYERS)
    ]
    return Probe(make, 32, layers, _FAR_TOKENS)


def _overheads(backend: CpuBackend) -> tuple[float, float]:
    """Seconds of a layer, and of a step, that has next to nothing to compute."""
    make = Maker(backend)
    rope = RopeTable(np.ones(16, np.float32), CHUNK_TOKENS)
    layers: list[Layer] = []
    for index in range(_TINY_LAYERS):
        layers.append(_AttentionLayer(make, index, 1, 1, 32, 0, rope))
        layers.append(_MlpLayer(make, "Q8_0", 32, 32))
    one, all_of_them = (
        Probe(make, 32, layers[:count]).seconds(1, repeats=49) for count in (2, len(layers))
    )
    layer_s = max(0.0, (all_of_them - one) / (_TINY_LAYERS - 1))
    return layer_s, max(0.0, one - layer_s)


def main(arguments: Sequence[str]) -> None:
    """Width, inner width, bytes, names: prints the rates. In a process of its own it leaves no
    memory behind in the one that asks."""
    names, sizes = arguments[3:], map(int, arguments[:3])
    print(json.dumps(as_object(measure(CpuBackend(), names, *sizes))))


if __name__ == "__main__":
    main(sys.argv[1:])
