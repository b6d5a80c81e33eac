"""Markdown while it is being written: blocks, widths, nothing lost, nothing that steers."""

from __future__ import annotations

import doctest
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from wcwidth import wcswidth

from ingle.cli import chat_commands, editor, markdown, note, request
from ingle.cli.markdown import MarkdownDisplay, complete_blocks

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.mark.parametrize("module", [chat_commands, editor, markdown, note, request])
def test_examples_in_docstrings_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def written(pieces: list[str], width: int = 40, live: bool = False) -> str:
    """All that was sent to a terminal of that width."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=10, force_terminal=live, highlight=False)
    display = MarkdownDisplay(console)
    for piece in pieces:
        display.write(piece)
    display.end()
    return file.getvalue()


@pytest.mark.parametrize("width", [20, 39, 79])
def test_the_commands_help_is_broken_between_words(width: int) -> None:
    parts = chat_commands.help_text(width).split("\n")
    whole = chat_commands.help_text(None)
    assert "".join("".join(parts).split()) == "".join(whole.split())
    assert all(len(part) <= width for part in parts)
    for part in parts:  # and a note leaves them as they are
        assert note.wrapped(part, width) == part or not part.strip()


lines = st.lists(
    st.sampled_from(["", "  ", "# h", "- a", "  b", "1. c", "```", "~~~", "````", "text", "> q"]),
    max_size=20,
).map("\n".join)


@given(lines)
def test_blocks_are_the_text(text: str) -> None:
    blocks, rest = complete_blocks(text)
    assert "".join(blocks) + rest == text


@given(lines, st.data())
def test_blocks_do_not_depend_on_the_pieces(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    found: list[str] = []
    rest = ""
    for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True):
        blocks, rest = complete_blocks(rest + text[a:b])
        found += blocks
    assert (found, rest) == complete_blocks(text)


def test_a_fence_is_one_block_whatever_stands_in_it() -> None:
    code = "```python\na = 1\n\nb = 2\n```\n\n"
    assert complete_blocks(code + "Then") == ([code], "Then")
    assert complete_blocks("```\na\n\nb") == ([], "```\na\n\nb")


ANSWER = """# 北京简介

北京是中华人民共和国的首都,也是全国的政治、文化中心。It has **21.8 million** people 🎉 和历史。

1. 故宫:明清两代的皇家宫殿,世界上现存规模最大的木质结构古建筑群。

2. one-very-long-word-that-has-no-place-to-break-it-anywhere-at-all

```python
def add(a: int, b: int) -> int: return "两个数相加,返回它们的和,这一行很长"
```

| 名称 | Year |
|---|---|
| 故宫 | 1420 |
"""


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("live", [False, True])
def test_no_line_is_wider_than_the_terminal(width: int, live: bool) -> None:
    pieces = [ANSWER[at : at + 3] for at in range(0, len(ANSWER), 3)]
    shown = ESCAPES.sub("", written(pieces, width, live)).replace("\r", "\n")
    assert max(wcswidth(line.rstrip()) for line in shown.split("\n")) <= width


def test_every_character_is_shown() -> None:
    shown = re.sub(r"\s", "", written(list(ANSWER)))
    for words in (
        "北京是中华人民共和国的首都",
        "也是全国的政治、文化中心。",
        "故宫:明清两代的皇家宫殿",
    ):
        assert words in shown
    assert "**" not in shown and "```" not in shown


def test_blocks_are_divided_by_one_blank_line() -> None:
    text = "One.\n\n- a\n- b\n\n```\ncode\n```\n\nTwo.\n"
    shown = [line.rstrip() for line in written([text]).splitlines()]
    assert shown == ["One.", "", " • a", " • b", "", "code", "", "Two."]


def test_what_a_model_says_does_not_steer_the_terminal() -> None:
    shown = written(["\x1b[31mred\x07 \x9b2J \x1b]0;title\x07"])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    assert "red" in shown


def test_markup_of_the_renderer_is_text() -> None:
    assert "[red]not markup[/red]" in written(["[red]not markup[/red]"])


def test_an_answer_without_text_shows_nothing() -> None:
    assert written([]) == written(["\n\n"]) == ""
