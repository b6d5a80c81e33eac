"""Forecasts of speed: the arithmetic by hand, and runs that others have published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.errors import IngleError
from ingle.formats.synth import plan as synthetic
from ingle.models import load_model
from ingle.ops.count import CountingBackend, count
from ingle.plan import hardware, speed
from ingle.plan.anatomy import Anatomy, anatomy
from ingle.plan.forecast import best_choice, outlook, sufficient
from ingle.plan.hardware import HABITS, Machine, find, machines
from ingle.plan.limits import memory_limit, parse_size
from ingle.plan.local import this_machine
from ingle.plan.rates import (
    CORRECTIONS_FILE,
    RATES_FILE,
    Corrections,
    Rates,
    read_corrections,
    read_rates,
    write_corrections,
)
from ingle.plan.subject import open_subject

GIB = 1 << 30


def known(name: str, machine: Machine, quant: str | None = None) -> Anatomy:
    return anatomy(open_subject(name, quant), machine.gpu)


@pytest.mark.parametrize(
    ("name", "machine", "quant", "published"),
    [  # decode, one sequence: public single runs of llama.cpp and its forks
        ("gpt-oss:20b", "RTX 4090", None, 225),
        ("gpt-oss:20b", "RTX PRO 6000 Blackwell", None, 391),
        ("gpt-oss:20b", "M4", None, 26),
        ("gpt-oss:20b", "M1 Pro", None, 37),
        ("gpt-oss:20b", "Core i7-11700K", None, 15.9),
        ("gpt-oss:120b", "Ryzen AI Max+ 395", None, 41.5),
    ],
)
def test_decode_is_near_what_others_measured(
    name: str, machine: str, quant: str | None, published: float
) -> None:
    on = find(machine)
    decode = speed.forecast(known(name, on, quant), on, 1024).decode_tokens_per_s
    assert decode == pytest.approx(published, rel=0.15)


@pytest.mark.parametrize(("machine", "published"), [("Core i7-11700K", 286), ("M1 Pro", 404)])
def test_prefill_is_near_what_others_measured(machine: str, published: float) -> None:
    on = find(machine)
    prefill = speed.forecast(known("gpt-oss:20b", on), on, 1024).prefill_tokens_per_s
    assert prefill == pytest.approx(published, rel=0.2)


def test_bytes_and_work_by_hand() -> None:
    """2.56 GB per token and 6.06 GFLOP per token of a prompt, as published analyses count."""
    model = known("gpt-oss:20b", find("RTX 4090"))
    assert speed.weights_read_bytes(model, 1) / 1e9 == pytest.approx(2.56, rel=0.01)
    assert model.layer_flops / 1e9 == pytest.approx(6.06, rel=0.01)
    full = known("gpt-oss:120b", find("H200"), "MXFP4+BF16")
    assert speed.weights_read_bytes(full, 1) / 1e9 == pytest.approx(
        4.97, rel=0.015
    )  # F32 routers and biases
    assert full.layer_flops / 1e9 == pytest.approx(9.10, rel=0.01)


@pytest.mark.parametrize(("tokens", "distinct"), [(2, 7.5), (4, 13.2), (8, 21), (16, 28), (32, 32)])
def test_experts_met_by_several_tokens(tokens: int, distinct: float) -> None:
    model = known("gpt-oss:20b", find("H200"))
    per_expert = model.experts_bytes / 32
    rest = model.dense_read_bytes + tokens * model.embedding_row_bytes
    met = (speed.weights_read_bytes(model, tokens) - rest) / per_expert
    assert met == pytest.approx(distinct, rel=0.02)


@pytest.mark.parametrize("name", ["gpt-oss:20b", "qwen3:0.6b", "gpt2"])
@pytest.mark.parametrize("tokens", [1, 128, 129, 1000])
def test_attention_of_a_prompt_is_what_is_counted(name: str, tokens: int) -> None:
    model = known(name, find("H100"))
    cost = count(load_model(synthetic(name).open(), CountingBackend(), 64), tokens)
    assert speed.attention_flops(model, tokens) == cost.attention_flops
    last = count(load_model(synthetic(name).open(), CountingBackend(), 64), 1, tokens - 1)
    assert speed.kv_read_bytes(model, tokens) == last.kv_read_bytes


@given(st.integers(1, 131_072), st.integers(1, 64), st.sampled_from(sorted(machines())))
def test_more_is_never_faster(context: int, batch: int, name: str) -> None:
    machine = find(name)
    model = _gpt_oss(machine.gpu)
    one = speed.decode_s(model, machine, context, batch)
    assert 0 < one <= speed.decode_s(model, machine, context, batch + 1)
    assert one <= speed.decode_s(model, machine, min(131_072, 2 * context), batch)
    assert speed.prefill_s(model, machine, context) <= speed.prefill_s(model, machine, context + 1)


_ANATOMIES = {gpu: anatomy(open_subject("gpt-oss:20b"), gpu) for gpu in (False, True)}


def _gpt_oss(gpu: bool) -> Anatomy:
    return _ANATOMIES[gpu]


# --- machines ---


def test_the_hardware_table_is_whole() -> None:
    table = machines()
    assert len(table) > 60
    for machine in table.values():
        assert machine.kind in HABITS
        assert machine.source
        assert 1 * GIB < machine.memory_bytes < 2048 * GIB
        assert 1e10 < machine.read_bytes_per_s < 1e13
        assert 1e11 < machine.ops_per_s < 1e16
    for name in (
        "RTX 2060",
        "RTX 3060 12 GB",
        "RTX 4090",
        "RTX 5090",
        "B200",
        "MI300X",
        "Arc B580",
    ):
        assert name in table
    assert {machine.kind for machine in table.values()} == {"gpu", "apple", "cpu"}


def test_sources_say_what_was_looked_up() -> None:
    """Every machine names its maker's page and what was seen of its figures elsewhere."""
    for machine in machines().values():
        said, _, seen = machine.source.partition("; seen: ")
        assert len(said) > 10 and len(seen) > 20, machine.name


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("rtx4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 3060 12GB", "RTX 3060 12 GB"),
        ("h100 sxm", "H100"),
        ("Apple M4 Max", "M4 Max"),
    ],
)
def test_machines_are_found_as_people_write_them(said: str, meant: str) -> None:
    assert find(said).name == meant


def test_an_unknown_machine_is_told_with_near_ones() -> None:
    with pytest.raises(IngleError, match="did you mean RTX 40"):
        find("RTX 4091")


def test_a_gpu_of_which_only_memory_is_known() -> None:
    assert hardware.of_size(16 * GIB).memory_bytes == 16 * GIB
    slowest = hardware.of_size(16 * GIB).read_bytes_per_s
    assert slowest == min(
        m.read_bytes_per_s
        for m in machines().values()
        if m.kind == "gpu" and m.memory_bytes >= 16 * GIB
    )


def test_what_suffices_and_what_is_best() -> None:
    subject = open_subject("gpt-oss:120b")
    names = [one.machine.name for one in sufficient(subject, 8192)]
    assert "H100" in names
    assert "RTX 5090" not in names
    best = best_choice(open_subject("gpt-oss:20b"), find("RTX 4080"), 8192)
    assert best is not None
    assert (best.quant, best.context_tokens) == ("MXFP4+Q8_0", 131_072)
    assert best_choice(subject, find("RTX 4090"), 8192) is None
    small = best_choice(open_subject("qwen3:8b"), hardware.of_size(8 * GIB), 4096)
    assert small is not None and small.quant == "Q4_1"


def test_an_outlook_says_whether_it_fits() -> None:
    subject = open_subject("gpt-oss:20b")
    assert outlook(subject, find("RTX 4080"), 8192).fits
    assert not outlook(subject, find("RTX 4070"), 8192).fits


# --- limits and measurements ---


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal:       24683412 kB\nMemFree: 1 kB\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 24683412 * 1024),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 24683412 * 1024),
        (
            {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "8589934592\n"},
            8 * GIB,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x/y\n0::/\n",
                "sys/fs/cgroup/memory/x/y/memory.limit_in_bytes": "4294967296\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            4 * GIB,
        ),
        ({"proc/self/cgroup": "nonsense\n0::/../../etc\n"}, 24683412 * 1024),
    ],
)
def test_limits_of_machine_and_control_groups(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert memory_limit(write(tmp_path, MEMINFO | files)).nbytes == expected


def test_nobody_says_how_much_memory_there_is(tmp_path: Path) -> None:
    assert memory_limit(tmp_path).nbytes is None
    assert (memory_limit().nbytes or 0) > GIB


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("8GiB", 8 * GIB), ("16 GB", 16_000_000_000), ("1.5g", 1_500_000_000), ("500", 500)],
)
def test_sizes(text: str, nbytes: int) -> None:
    assert parse_size(text, "--memory") == nbytes


@given(st.text(max_size=60))
def test_any_other_size_is_a_mistake(text: str) -> None:
    try:
        assert parse_size(text, "--memory") >= 0
    except IngleError as error:
        assert error.where == "--memory"


def test_measurements_take_the_place_of_assumptions(tmp_path: Path) -> None:
    assumed = this_machine(tmp_path, 8 * GIB)
    assert (assumed.memory_bytes, assumed.source[:7]) == (8 * GIB, "assumed")
    rates = {
        "memory_read_bytes_per_s": 3e10,
        "int8_ops_per_s": 2e12,
        "disk_read_bytes_per_s": 5e8,
    }
    (tmp_path / RATES_FILE).write_text(json.dumps(rates))
    measured = this_machine(tmp_path)
    assert (measured.read_bytes_per_s, measured.ops_per_s) == (3e10, 2e12)
    assert (measured.disk_bytes_per_s, measured.source) == (5e8, "measured")
    write_corrections(tmp_path, Corrections(decode=2.0, prefill=0.5))
    corrected = this_machine(tmp_path)
    assert corrected.decode_efficiency == measured.decode_efficiency / 2
    assert corrected.prefill_efficiency == measured.prefill_efficiency * 2


def test_corrections_double_times(tmp_path: Path) -> None:
    before, model = this_machine(tmp_path), _gpt_oss(gpu=False)
    write_corrections(tmp_path, Corrections(2.0, 2.0, 2.0))
    after = this_machine(tmp_path)
    one, two = (speed.forecast(model, m, 1024) for m in (before, after))
    assert two.decode_tokens_per_s == pytest.approx(one.decode_tokens_per_s / 2)
    assert two.load_s == pytest.approx(2 * one.load_s)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "null", '{"decode": -1}', '{"decode": 1e9}', '{"decode": true}', "[" * 9999],
)
def test_damaged_measurements_count_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / RATES_FILE).write_text(text)
    (tmp_path / CORRECTIONS_FILE).write_text(text)
    assert read_rates(tmp_path) == Rates()
    assert read_corrections(tmp_path) == Corrections()
