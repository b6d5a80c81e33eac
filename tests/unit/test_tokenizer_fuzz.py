"""A few hundred cases of the tokenizer fuzzer with every test run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZER = Path(__file__).parents[1] / "hostile/fuzz_tokenizers.py"


def test_some_hundred_cases() -> None:
    command = [sys.executable, str(FUZZER), "--count", "600", "--seed", "7"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "failed" not in run.stdout
    assert run.stderr == ""
