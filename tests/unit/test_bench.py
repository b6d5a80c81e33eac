"""`ingle bench`: what is run and counted; the program that measures limits; peers by turns."""

from __future__ import annotations

import importlib.util
import json
import stat
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ingle.backends.cpu.backend import CpuBackend
from ingle.cli import limits
from ingle.cli.bench import Wishes, bench, wanted_tests
from ingle.cli.limits import Limits
from ingle.cli.traffic import TouchedCounter, traffic
from ingle.cli.workload import Test as Timed
from ingle.cli.workload import Workload, check_tests
from ingle.errors import IngleError
from ingle.formats import open_container
from ingle.formats.synth import synthesize
from ingle.models import load_model
from ingle.ops.count import CountingBackend, count
from ingle.ops.protocol import run_model

KEYS = ["model", "threads", "isa", "kv_type"]
KEYS += ["read_bytes_per_s", "peak_ops_per_s", "peak_rss_bytes"]
RESULT_KEYS = ["test", "depth", "batch", "tokens_per_s", "spread", "bytes_per_token"]
RESULT_KEYS += ["share_of_read_bandwidth", "share_of_peak_ops"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def moe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize("tiny-gpt-oss", tmp_path_factory.mktemp("moe") / "a.gguf", layout="gguf")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize("tiny-llama", tmp_path_factory.mktemp("dense") / "a.gguf", layout="gguf")


def program(path: Path, text: str) -> Path:
    """A program that prints `text`."""
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def roofline(tmp_path: Path) -> Path:
    said = {"read_bytes_per_s": 4e10, "int8_ops_per_s": 2e12, "f32_ops_per_s": 1e11}
    return program(tmp_path / "roofline", json.dumps(said))


def test_the_last_line_is_one_object_of_the_agreed_keys(
    moe: Path, roofline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wishes = Wishes("8", "3", "0,70", "1,2", 2, 1, str(roofline))
    bench(str(moe), wishes)
    *table, last = capsys.readouterr().out.splitlines()
    said = json.loads(last)
    assert [*said] == [*KEYS, "results"]
    assert said["read_bytes_per_s"] == 4e10 and said["peak_ops_per_s"] == 2e12
    assert [(r["test"], r["depth"], r["batch"]) for r in said["results"]] == [
        (test, depth, batch)
        for depth in (0, 70)
        for test, batch in (("pp8", 1), ("tg3", 1), ("tg3", 2))
    ]
    for result in said["results"]:
        assert [*result] == RESULT_KEYS
        assert result["tokens_per_s"] > 0 and result["bytes_per_token"] > 0
    assert table[0].split(" | ")[0].strip("| ") == "model"
    assert sum("tg3 @ d70" in line for line in table) == 2


def test_json_alone(dense: Path, roofline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench(str(dense), Wishes("0", "1", threads=1, roofline=str(roofline), as_json=True))
    assert json.loads(capsys.readouterr().out)["results"][0]["spread"] >= 0


def test_a_decoded_token_costs_what_the_count_says(dense: Path) -> None:
    backend = CpuBackend(1)
    model = load_model(open_container(dense), backend, 64)
    workload = Workload(model, backend, Timed(True, 4, 10))
    costs = [count(model, 1, 10 + step) for step in range(4)]
    nbytes = [c.weights_read_bytes + c.kv_read_bytes + c.kv_written_bytes for c in costs]
    assert traffic(workload).nbytes == sum(nbytes) / 4
    operations = [c.matrix_flops + c.attention_flops for c in costs]
    assert traffic(workload).operations == sum(operations) / 4


def test_experts_are_counted_as_touched(moe: Path) -> None:
    backend = CpuBackend(1)
    model: Any = load_model(open_container(moe), backend, 64)
    experts, ranks = model.config.num_local_experts, model.config.num_experts_per_tok
    one, most = count(model).weights_read_bytes, count(model, 64).weights_read_bytes
    for batch in (2, 4):
        workload = Workload(model, backend, Timed(True, 2, 0, batch))
        read = traffic(workload).nbytes * batch
        kv = count(model, 1, 2, batch)
        assert one < read < most + kv.kv_read_bytes + kv.kv_written_bytes
    layers = model.num_hidden_layers
    for touched in (ranks, experts):
        counter = TouchedCounter(64, 0, 1, [touched] * layers)
        run_model(model, counter)
        if touched == experts:
            assert counter.cost == count(model, 64)
        else:
            assert counter.cost.weights_read_bytes < most


def test_keys_and_values_before_the_depth_are_there(dense: Path) -> None:
    backend = CpuBackend(1)
    model = load_model(open_container(dense), backend, 256)
    workload = Workload(model, backend, Timed(True, 2, 100, 2))
    for array in (*workload._pool.keys, *workload._pool.values):
        assert np.isfinite(array).all() and (array != 0).mean() > 0.99
    workload.warm()
    assert workload.seconds() > 0


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ({"prompts": "x"}, "-p"),
        ({"prompts": ""}, "-p"),
        ({"prompts": "0", "answers": "0"}, "-p"),
        ({"answers": "1,,2"}, "-n"),
        ({"answers": "9" * 5000}, "-n"),
        ({"answers": "٣٣٣٣٣٣٣٣٣"}, "-n"),
        ({"depths": "-1"}, "-d"),
        ({"batches": "0"}, "--batch"),
        ({"batches": "257"}, "--batch"),
        ({"repetitions": 0}, "-r"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags: dict[str, Any], where: str) -> None:
    with pytest.raises(IngleError) as refused:
        wanted_tests(Wishes(**flags))
    assert refused.value.where == where


def test_tests_must_fit(dense: Path) -> None:
    model = load_model(open_container(dense), CountingBackend(), 1)
    with pytest.raises(IngleError, match="context must be"):
        check_tests(model, [Timed(False, 1 << 20)], None, 2)
    with pytest.raises(IngleError, match="keys and values must fit"):
        check_tests(model, [Timed(True, 32, 100, 200)], 1 << 16, 2)


@pytest.mark.parametrize("text", ["", "nonsense", "{}", "[]", '{"read_bytes_per_s": "x"}'])
def test_a_program_that_says_other_things_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(IngleError, match="print its measurements as JSON"):
        limits.by_roofline(program(tmp_path / "other", text), 1)
    with pytest.raises(IngleError, match="print its measurements as JSON"):
        limits.by_roofline(tmp_path / "absent", 1)


def test_limits_before_and_after_are_averaged() -> None:
    assert limits.mean([Limits(1.0, 4.0), Limits(3.0, 8.0)]) == Limits(2.0, 6.0)


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    path = ROOT / "benchmarks" / "peers.py"
    if not path.is_file():
        pytest.skip("benchmarks/ is not part of this installation")
    spec = importlib.util.spec_from_file_location("peers", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["peers"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def rounds(peers: ModuleType, *pairs: tuple[float, float]) -> list[Any]:
    key = ("tg32", 0, 1)
    rates = [{"ingle": {key: a}, "peer": {key: b}} for a, b in pairs]
    return [peers.Round(4e10, each, {"ingle": {key: 1e9}}) for each in rates]


def test_ratios_of_medians_and_medians_of_ratios(peers: ModuleType) -> None:
    (row,) = peers.compared(["ingle"], ["peer"], rounds(peers, (10, 5), (12, 10), (20, 8)))
    assert (row["tokens_per_s"], row["peer_tokens_per_s"], row["ratio_of_medians"]) == (12, 8, 1.5)
    assert row["median_of_ratios"] == 2.0
    assert (row["ours"], row["share_of_read_bandwidth"]) == ("ingle", 0.3)
    assert list(peers.compared(["ingle"], ["peer"], [])) == []


def test_a_round_that_beats_the_wall_is_void(peers: ModuleType) -> None:
    (one,) = rounds(peers, (10, 41))
    assert peers.too_fast(one, 1e9) == ""
    assert "peer tg32" in peers.too_fast(one, 1.01e9)
    one.costs["ingle"]["tg32", 0, 1] = 5e9
    assert "ingle tg32" in peers.too_fast(one, 1e6)


def test_names_of_peers(peers: ModuleType) -> None:
    assert peers.named("ik=/x/llama-bench -rtr 1") == ("ik", ["/x/llama-bench", "-rtr", "1"])
    with pytest.raises(SystemExit):
        peers.named("/x/llama-bench")
