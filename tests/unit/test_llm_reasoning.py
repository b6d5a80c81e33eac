"""Reasoning is told from the answer wherever the pieces are cut; examples in docstrings hold."""

from __future__ import annotations

import doctest
import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.llm.reasoning import Part, ReasoningSplitter, split_reasoning, template_variables

MODULES = ("options", "reasoning", "settings", "stored", "stop")


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    module = importlib.import_module(f"ingle.llm.{name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples() -> None:
    tried = [doctest.testmod(importlib.import_module(f"ingle.llm.{n}")).attempted for n in MODULES]
    assert sum(tried) >= 8


def parts_of(pieces: list[str], inside: bool = False) -> list[Part]:
    splitter = ReasoningSplitter(inside)
    found = [part for piece in pieces for part in splitter.feed(piece)]
    return found + splitter.finish()


def joined(parts: list[Part], is_reasoning: bool) -> str:
    return "".join(part.text for part in parts if part.is_reasoning is is_reasoning)


words = st.text(alphabet="ab <>/think\n你", max_size=40)


@given(words, words, st.booleans(), st.data())
def test_pieces_do_not_matter(
    reasoning: str, answer: str, inside: bool, data: st.DataObject
) -> None:
    text = f"{'' if inside else '<think>'}{reasoning}</think>{answer}"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole, cut = parts_of([text], inside), parts_of(pieces, inside)
    for is_reasoning in (True, False):
        assert joined(whole, is_reasoning) == joined(cut, is_reasoning)
    if "</think>" not in reasoning and not reasoning.endswith(
        tuple("</think"[:n] for n in range(1, 8))
    ):
        assert joined(cut, True) == reasoning.strip()
        assert joined(cut, False) == answer.lstrip()


@given(words.filter(lambda text: not text.lstrip().startswith("<think>")))
def test_an_answer_without_reasoning_is_kept_to_the_letter(text: str) -> None:
    parts = parts_of(list(text))
    assert joined(parts, False) == text
    assert joined(parts, True) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>\nA\n\nB\n</think>\n\nC", ("A\n\nB", "C")),
        ("\n<think>A</think>B", ("A", "B")),
        ("<think>\n\n</think>\n\nC", ("", "C")),
        ("<think>A, cut", ("A, cut", "")),
        ("say <think>no</think>", ("", "say <think>no</think>")),
        ("<thin", ("", "<thin")),
        ("", ("", "")),
    ],
)
def test_a_finished_text_is_split(text: str, expected: tuple[str, str]) -> None:
    assert split_reasoning(text) == expected


def test_what_a_prompt_opened_is_reasoning_from_the_start() -> None:
    assert split_reasoning("A</think>\nB", inside=True) == ("A", "B")


@pytest.mark.parametrize(
    ("template", "wish", "expected"),
    [
        ("{{ reasoning_effort }}", "high", {"reasoning_effort": "high"}),
        ("{{ reasoning_effort }}", True, {}),
        ("{% if enable_thinking is false %}", "off", {"enable_thinking": False}),
        ("{% if enable_thinking is false %}", True, {"enable_thinking": True}),
        ("{% if enable_thinking is false %}", "none", {"enable_thinking": False}),
        ("{% if enable_thinking is false %}", "high", {"enable_thinking": True}),
        ("anything", None, {}),
    ],
)
def test_a_wish_becomes_the_templates_variable(
    template: str, wish: str | bool | None, expected: dict[str, object]
) -> None:
    assert template_variables(template, wish) == expected
