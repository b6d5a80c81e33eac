"""What a forward costs, computed by hand from the shapes of the published models."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ingle.errors import UnsupportedError
from ingle.formats import GgufFile
from ingle.formats.synth import plan, synthesize
from ingle.models import load_model
from ingle.numerics import FORMATS
from ingle.ops import Model
from ingle.ops.count import Cost, Counter, CountingBackend, count

HIDDEN, VOCAB, Q, KV, TOP_K = 2880, 201_088, 4096, 512, 4
EXPERT = 3 * HIDDEN * HIDDEN  # gate, up and down of gpt-oss are square
SIZES = {"gpt-oss:20b": (24, 32), "gpt-oss:120b": (36, 128)}
Q8_0, MXFP4, F32 = 34 / 32, 17 / 32, 4


def model(name: str) -> Model:
    return load_model(plan(name).open(), CountingBackend(), 64)


@pytest.fixture(scope="module", params=list(SIZES))
def gpt_oss(request: pytest.FixtureRequest) -> tuple[int, int, Model]:
    """Layers, experts, model."""
    layers, experts = SIZES[request.param]
    return layers, experts, model(request.param)


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("gpt-oss:20b", 20_914_757_184, 3_608_307_264),
        ("gpt-oss:120b", 116_829_156_672, 5_132_849_472),
        ("smollm2:135m", 134_515_008, 134_515_008),  # tied: the embedding is the output matrix
        ("qwen3:0.6b", 596_049_920, 596_049_920),
        ("gpt2", 124_439_808, 124_439_808 - 1024 * 768),  # positions are looked up
        (
            "qwen3:30b-a3b",
            30_532_122_624,
            30_532_122_624 - 48 * 120 * 3 * 768 * 2048 - 151_936 * 2048,
        ),
    ],
)
def test_parameters_are_those_published(name: str, total: int, active: int) -> None:
    cost = count(model(name))
    assert (cost.parameters, cost.active_parameters) == (total, active)


def test_active_parameters_of_gpt_oss_by_hand(gpt_oss: tuple[int, int, Model]) -> None:
    layers, experts, counted = gpt_oss
    attention = HIDDEN * (Q + 2 * KV) + Q + 2 * KV + Q * HIDDEN + HIDDEN + 64
    router = experts * HIDDEN + experts
    chosen = TOP_K * (EXPERT + 3 * HIDDEN)
    layer = attention + router + chosen + 2 * HIDDEN
    assert count(counted).active_parameters == layers * layer + HIDDEN + VOCAB * HIDDEN


def test_matrix_flops_of_gpt_oss_by_hand(gpt_oss: tuple[int, int, Model]) -> None:
    layers, experts, counted = gpt_oss
    layer = HIDDEN * (Q + 2 * KV) + Q * HIDDEN + experts * HIDDEN + TOP_K * EXPERT
    assert count(counted).matrix_flops == 2 * (layers * layer + VOCAB * HIDDEN)
    seven = count(counted, tokens=7, sequences=3).matrix_flops
    assert seven == 2 * (21 * layers * layer + 3 * VOCAB * HIDDEN)


def test_weight_bytes_of_gpt_oss_by_hand(gpt_oss: tuple[int, int, Model]) -> None:
    layers, experts, counted = gpt_oss
    matrices = (HIDDEN * (Q + 2 * KV) + Q * HIDDEN) * Q8_0
    floats = Q + 2 * KV + HIDDEN + 64 + experts * HIDDEN + experts + 2 * HIDDEN
    expert = EXPERT * MXFP4 + 3 * HIDDEN * F32
    rest = (VOCAB * HIDDEN + HIDDEN) * Q8_0 + HIDDEN * F32  # output matrix, an embedding row, norm
    dense = layers * (matrices + floats * F32) + rest
    assert count(counted).weights_read_bytes == dense + layers * TOP_K * expert
    most = min(experts, 20 * TOP_K)
    row = 19 * HIDDEN * Q8_0
    assert count(counted, tokens=20).weights_read_bytes == dense + row + layers * most * expert


def test_weights_bytes_are_the_payload() -> None:
    assert count(model("gpt-oss:20b")).weights_bytes == 12_096_558_336
    assert count(model("gpt-oss:120b")).weights_bytes == 63_374_323_968


@pytest.mark.parametrize("position", [0, 126, 127, 128, 5000])
def test_attention_and_kv_of_one_token_by_hand(
    gpt_oss: tuple[int, int, Model], position: int
) -> None:
    layers, _, counted = gpt_oss
    seen = layers // 2 * (min(position + 1, 128) + position + 1)  # half of them slide
    cost = count(counted, start=position)
    assert cost.attention_flops == 2 * 2 * 64 * 64 * seen
    assert cost.kv_written_bytes == layers * 2 * KV * 2
    assert cost.kv_read_bytes == 2 * KV * 2 * seen
    whole = count(counted, start=position, kv_value_bytes=4)
    assert whole.kv_read_bytes == 2 * cost.kv_read_bytes


@pytest.mark.parametrize(("start", "tokens"), [(0, 140), (100, 40), (1000, 3)])
def test_a_chunk_costs_what_its_tokens_cost_one_by_one(start: int, tokens: int) -> None:
    counted = model("gpt-oss:20b")
    chunk = count(counted, tokens, start)
    alone = [count(counted, 1, position) for position in range(start, start + tokens)]
    assert chunk.attention_flops == sum(cost.attention_flops for cost in alone)
    assert chunk.kv_written_bytes == sum(cost.kv_written_bytes for cost in alone)
    heads = 2 * (tokens - 1) * VOCAB * HIDDEN  # only the last token's logits are wanted
    assert chunk.matrix_flops + heads == sum(cost.matrix_flops for cost in alone)
    sliding = set().union(*(range(max(0, p - 127), p + 1) for p in range(start, start + tokens)))
    assert chunk.kv_read_bytes == 12 * 2 * KV * 2 * (len(sliding) + start + tokens)
    assert chunk.parameters == alone[0].parameters


def test_layers_can_be_counted_apart() -> None:
    counted = model("gpt-oss:20b")
    counter = Counter(start=999)
    x = counted.embed(counter)
    before = counter.cost
    x = counted.layer(counter, 0, x)
    one = counter.cost.matrix_flops - before.matrix_flops
    assert (x.rows, x.columns) == (1, HIDDEN)
    assert one * 24 + 2 * VOCAB * HIDDEN == count(counted).matrix_flops
    assert before == Cost(
        weights_read_bytes=int(HIDDEN * Q8_0),
        parameters=VOCAB * HIDDEN,
        weights_bytes=int(VOCAB * HIDDEN * Q8_0),
    )


@pytest.mark.parametrize("name", ["gpt-oss", "qwen3moe", "qwen3", "llama", "gpt2"])
def test_a_file_and_its_plan_cost_the_same(tmp_path: Path, name: str) -> None:
    path = synthesize(f"tiny-{name}", tmp_path / "model.gguf")
    container = GgufFile.open(path)
    loaded = load_model(container, CountingBackend(), 64)
    cost = count(loaded, 5, 20)
    assert cost == count(model(f"tiny-{name}"), 5, 20)
    assert cost.parameters == sum(math.prod(t.shape) for t in container.tensors.values())
    assert cost.weights_bytes == sum(t.nbytes for t in container.tensors.values())


def test_counting_backend_keeps_facts_only() -> None:
    backend = CountingBackend()
    rows = np.broadcast_to(np.zeros(1, np.uint8), (1 << 20, 1 << 20, 17))
    weight = backend.matrix("a", FORMATS["MXFP4"], rows)
    assert weight.meta.shape == (1 << 20, 1 << 20, 32)
    assert (weight.meta.format, weight.meta.nbytes) == ("MXFP4", 17 << 40)
    vector = backend.vector("b", np.zeros((3, 5), np.float32))
    assert (vector.meta.shape, vector.meta.nbytes) == ((3, 5), 60)
    with pytest.raises(UnsupportedError, match="only its shape"):
        backend.export(weight)
