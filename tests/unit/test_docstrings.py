"""Every example in a docstring of ingle's holds."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import ingle

ROOT = Path(ingle.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("ingle", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.py")
    if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.M)
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_hold(name: str) -> None:
    tried = doctest.testmod(importlib.import_module(name))
    assert tried.attempted > 0
    assert tried.failed == 0


def test_there_are_examples() -> None:
    assert len(WITH_EXAMPLES) >= 10
