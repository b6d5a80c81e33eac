"""Rows fit the terminal they are shown on, at any width; nothing of them is lost."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from ingle.cli import layout
from ingle.cli.help import help_text
from ingle.cli.layout import broken, cells, pairs, table
from ingle.cli.main import app

words = st.lists(st.text(st.sampled_from("abé中😀-/."), min_size=1, max_size=30), max_size=8)
sentences = words.map(" ".join)
cell = st.text(st.sampled_from("ab:中-"), min_size=1, max_size=20)
widths = st.integers(4, 120)


def letters(text: str) -> str:
    return "".join(text.split())


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(layout).failed == 0


@given(sentences, widths)
def test_broken_text_fits_and_loses_nothing(text: str, width: int) -> None:
    lines = broken(text, width)
    assert all(cells(line) <= width for line in lines)
    assert letters("".join(lines)) == letters(text)


@given(st.lists(st.tuples(cell, sentences), min_size=1, max_size=5), st.integers(26, 120))
def test_pairs_fit_and_lose_nothing(rows: list[tuple[str, str]], width: int) -> None:
    rows = [(label, " ".join(text.split())) for label, text in rows]
    lines = pairs(rows, width)
    assert all(cells(line) <= max(width, 40) for line in lines)
    assert letters("".join(lines)) == letters("".join(label + text for label, text in rows))


@given(st.lists(st.tuples(cell, cell, sentences), min_size=2, max_size=5), st.integers(26, 120))
def test_tables_fit(rows: list[tuple[str, str, str]], width: int) -> None:
    rows = [(a, b, " ".join(text.split())) for a, b, text in rows]
    lines = table(rows, width)
    assert all(cells(line) <= max(width, 40) for line in lines)
    for _, _, text in rows[1:]:
        assert letters(text.strip("-")) in letters("".join(lines))


def test_in_a_pipe_a_row_is_a_line() -> None:
    rows = [("NAME", "WHAT"), ("a" * 50, "b" * 500)]
    assert table(rows, None) == ["NAME" + " " * 48 + "WHAT", "a" * 50 + "  " + "b" * 500]
    assert pairs(rows, None)[1] == "a" * 50 + "  " + "b" * 500


@pytest.mark.parametrize("width", [39, 79, 90])
def test_help_of_every_command_fits_and_is_whole(width: int) -> None:
    group: Any = typer.main.get_command(app)
    for command, path in [
        (group, "ingle"),
        *((c, f"ingle {n}") for n, c in group.commands.items()),
    ]:
        text = help_text(command, path, width)
        assert all(cells(line) <= width for line in text.splitlines()), path
        assert letters(text).startswith(letters(f"Usage: {path} [OPTIONS]"))
        for parameter in command.params:
            assert letters(parameter.help or "") in letters(text)


@pytest.mark.parametrize("args", [["--help"], ["run", "-h"], ["pull", "--help"]])
def test_the_program_shows_that_help(ingle: Any, args: list[str]) -> None:
    ended = ingle(*args)
    assert (ended.code, ended.err) == (0, "")
    assert "Show this and leave." in ended.out
