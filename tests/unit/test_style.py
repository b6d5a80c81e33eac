"""Styles: what their grammars let through has the four parts, and nothing else gets through."""

from __future__ import annotations

import json
import re

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle.chat.constraint import GrammarConstraint, GrammarVocabulary
from ingle.chat.constraint.bits import allows
from ingle.chat.style import SCHEMA, Style
from ingle.errors import IngleError, UnsupportedError
from ingle.tokenizer import o200k_harmony

GOOD = (
    "## 问题\n为什么天是蓝的？\n\n## Answer\n1. Light scatters.\n2. Blue more than red.\n\n"
    "## Conclusion\nSo it is blue."
)
SUGGESTING = GOOD + "\n\n## Vorschläge\n- Look up.\n- Look again."
SHAPE = re.compile(
    r"## .+\n.+\n\n## .+\n1\. .+\n(\d+\. .+\n)*\n## .+\n.+(\n\n## .+\n(- .+\n?){1,6})?", re.ASCII
)


def accepts(style: Style, text: str) -> bool:
    constraint = GrammarConstraint(GrammarVocabulary.of(o200k_harmony()), style.format.grammar)
    for token in o200k_harmony().encode(text):
        if not allows(constraint.mask(), token):
            return False
        constraint.advance(token)
    return constraint.accepts


@pytest.mark.parametrize("text", [GOOD, SUGGESTING])
def test_the_four_parts_are_let_through(text: str) -> None:
    assert accepts(Style.of("structured"), text)
    assert SHAPE.fullmatch(text)


@pytest.mark.parametrize(
    "text",
    [
        "The sky is blue.",
        GOOD.replace("1. Light", "Light"),
        GOOD.replace("2. Blue", "3. Blue"),
        GOOD.replace("## Conclusion\nSo it is blue.", ""),
        GOOD + "\n\nBy the way, ...",
        SUGGESTING.replace("- Look up.\n- Look again.", "Look up."),
    ],
)
def test_anything_else_is_not(text: str) -> None:
    assert not accepts(Style.of("structured"), text)


@given(st.integers(0, 9999))
@settings(max_examples=15)
def test_what_is_drawn_has_the_shape(seed: int) -> None:
    random, tokenizer, said = np.random.default_rng(seed), o200k_harmony(), []
    vocabulary = GrammarVocabulary.of(tokenizer)
    constraint = GrammarConstraint(vocabulary, Style.of("structured").format.grammar)
    breaks = [i for text in ("\n", "\n\n", ".\n", ".\n\n", "##") for i in tokenizer.encode(text)]
    for _ in range(600):
        mask = constraint.mask()
        ends = [i for i in (*tokenizer.eos_ids, *breaks) if allows(mask, i)]
        choices = np.flatnonzero(np.unpackbits(mask, bitorder="little"))
        token = int(random.choice(ends if ends and random.random() < 0.3 else choices))
        constraint.advance(token)
        if token in tokenizer.eos_ids:
            assert SHAPE.fullmatch(tokenizer.decode(said).replace("\r", " "))
            return
        said.append(token)


def test_as_json() -> None:
    style = Style.of("structured", "json")
    answer = {"question": "Q?", "points": ["a", "b"], "conclusion": "c"}
    jsonschema.validate(answer, SCHEMA)
    assert accepts(style, json.dumps(answer))
    assert not accepts(style, json.dumps({**answer, "points": []}))


def test_what_is_no_style_is_refused() -> None:
    with pytest.raises(IngleError, match="must be one of structured, but got 'baroque'"):
        Style.of("baroque")
    with pytest.raises(UnsupportedError, match="a style has its own format"):
        Style.of("structured", {"type": "object"})
