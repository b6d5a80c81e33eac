"""docs/harmony.md tells the rules, deviations and tests that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ingle.chat.harmony.repairs import RULES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "harmony.md").read_text()


def cell(text: str) -> str:
    return re.sub(r"<\|(\w+)\|>", r"`<\\|\1\\|>`", text)


def test_every_rule_is_told() -> None:
    told = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert told == {rule: cell(text) for rule, text in RULES.items()}


def test_every_deviation_is_told() -> None:
    deviations = json.loads((ROOT / "tests" / "golden" / "harmony_deviations.json").read_text())
    told = dict(re.findall(r"^\| `(p\d\d_\w+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert told == {name: cell(one["why"]) for name, one in deviations.items()}


@pytest.mark.parametrize("named", re.findall(r"`((?:tests/\w+/)?test_\w+\.py)::(\w+)`", PAGE))
def test_the_tests_that_are_named_exist(named: tuple[str, str]) -> None:
    file, name = named
    path = ROOT / file if "/" in file else ROOT / "tests" / "harmony" / file
    assert re.search(rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE)


def test_every_lesson_has_its_row() -> None:
    rows = re.findall(r"^\| ([\d, ]+) [A-Z`].* \| .+ \|$", PAGE, re.MULTILINE)
    numbers = [int(number) for row in rows for number in row.split(",")]
    assert numbers == list(range(1, 31))
