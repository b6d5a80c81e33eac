"""The fuzzer runs a few hundred cases with every test run, and notices what it must notice."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FUZZER = Path(__file__).with_name("fuzz_containers.py")


@pytest.fixture
def fuzzer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FUZZER.parent))
    return importlib.import_module("fuzz_containers")


def test_some_hundred_cases() -> None:
    command = [sys.executable, str(FUZZER), "--count", "600", "--seed", "7"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "failed" not in run.stdout


def test_valid_seeds_are_read(fuzzer: ModuleType, tmp_path: Path) -> None:
    bench = fuzzer.Bench(tmp_path)
    for target in fuzzer.TARGETS:
        assert bench.run(target, 0) == ("read", "")


def test_cases_are_reproducible_and_differ(fuzzer: ModuleType, tmp_path: Path) -> None:
    seed = fuzzer.TARGETS["gguf"].seed(tmp_path)
    cases = [fuzzer.case_bytes("gguf", seed, case) for case in range(50)]
    assert cases == [fuzzer.case_bytes("gguf", seed, case) for case in range(50)]
    assert len(set(cases)) > 40


def test_other_exceptions_are_failures(
    fuzzer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> None:
        raise MemoryError

    broken = dataclasses.replace(fuzzer.TARGETS["gguf"], read=read)
    monkeypatch.setitem(fuzzer.TARGETS, "gguf", broken)
    outcome, detail = fuzzer.Bench(tmp_path).run("gguf", 0)
    assert outcome == "failed" and "MemoryError" in detail
