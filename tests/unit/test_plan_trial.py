"""A plan held against a run: what would have been right is what is stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ingle.plan.forecast import Outlook, outlook
from ingle.plan.local import this_machine
from ingle.plan.rates import Corrections, write_corrections
from ingle.plan.speed import decode_s, prefill_s
from ingle.plan.subject import open_subject
from ingle.plan.trial import Row, Trial, compared, corrected

_GIB = 1 << 30


def seen(folder: Path) -> Outlook:
    return outlook(open_subject("smollm2:135m"), this_machine(folder, 8 * _GIB), 1024)


def trial(one: Outlook, slower: float) -> Trial:
    """A run that takes so many times longer than the plan says, whatever its corrections."""
    planned = {name: n for name, n in one.memory.categories.items() if name != "runtime"}
    return Trial(
        load_s=slower * one.speed.load_s,
        cold_bytes=one.model.file_bytes,
        prompt_tokens=300,
        prompt_s=slower * prefill_s(one.model, one.machine, 300),
        completion_tokens=20,
        decode_s=slower * decode_s(one.model, one.machine, 310),
        categories=planned,
        memory_bytes=one.memory.total_bytes,
        runtime_bytes=one.model.runtime_bytes,
    )


@pytest.mark.parametrize("slower", [0.5, 1.0, 3.0])
def test_the_next_plan_is_right(tmp_path: Path, slower: float) -> None:
    first = seen(tmp_path)
    ran = trial(first, slower)
    write_corrections(tmp_path, corrected(Corrections(), first, ran))
    rows = list(compared(seen(tmp_path), ran))
    assert {"attention", "kv_full", "activations", "runtime", "all memory"} < {r.name for r in rows}
    for row in rows:
        assert row.error == pytest.approx(0, abs=1e-9), row.name


def test_the_program_counts_as_it_was_before_the_model(tmp_path: Path) -> None:
    """A larger interpreter than usual is no error of the plan."""
    first = seen(tmp_path)
    more = 50_000_000
    ran = replace(
        trial(first, 1.0),
        memory_bytes=first.memory.total_bytes + more,
        runtime_bytes=first.model.runtime_bytes + more,
    )
    assert all(row.error == pytest.approx(0, abs=1e-9) for row in compared(first, ran))
    leaked = replace(ran, runtime_bytes=first.model.runtime_bytes)
    (runtime,) = (row for row in compared(first, leaked) if row.name == "runtime")
    assert runtime.measured - runtime.planned == more


def test_corrections_add_up(tmp_path: Path) -> None:
    first = seen(tmp_path)
    once = corrected(Corrections(), first, trial(first, 2.0))
    write_corrections(tmp_path, once)
    second = seen(tmp_path)
    twice = corrected(once, second, trial(second, 1.5))
    assert vars(twice) == pytest.approx({"decode": 3.0, "prefill": 3.0, "load": 3.0})


def test_what_cannot_be_is_not_learned(tmp_path: Path) -> None:
    first = seen(tmp_path)
    assert corrected(Corrections(), first, trial(first, 1000.0)) == Corrections()


def test_rows_say_how_far_off() -> None:
    assert Row("a", "s", 2.0, 3.0).error == 0.5
    assert Row("a", "s", 0.0, 0.0).error == 0.0
    assert Row("a", "s", 0.0, 1.0).error == float("inf")
