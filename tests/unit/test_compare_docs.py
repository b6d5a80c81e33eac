"""The drawings of docs/concepts are those that the program draws, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingle.plan.comparison import facts
from ingle.plan.drawing import file_svg

CONCEPTS = Path(__file__).parents[2] / "docs" / "concepts"


@pytest.mark.parametrize("name", ["gpt2:xl", "gpt-oss:20b", "qwen3:30b-a3b"])
def test_drawings_are_not_stale(name: str) -> None:
    stored = CONCEPTS / f"{name.replace(':', '-')}.svg"
    assert stored.read_text(encoding="utf-8") == file_svg(facts(name))


@pytest.mark.parametrize("page", sorted(CONCEPTS.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []
