"""The examples of docs/guide/python.md run, in order, and print what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs" / "guide" / "python.md"
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", re.DOTALL)


def test_the_examples_in_python_run(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "guide"}
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) >= 8
    for example, printed in blocks:
        capsys.readouterr()
        exec(compile(example, str(PAGE), "exec"), names)
        out = capsys.readouterr().out
        assert out == printed or not printed
    assert out == " Paris\n"
