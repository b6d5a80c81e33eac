"""Grammars over real vocabularies: what they let through is what an independent checker accepts."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ingle.chat.answer_format import AnswerFormat
from ingle.chat.constraint import Grammar, GrammarConstraint, GrammarVocabulary, bits_of
from ingle.chat.constraint.bits import allows, exchange
from ingle.errors import IngleError, UnsupportedError
from ingle.tokenizer import Tokenizer, from_gguf_metadata

BOUNDED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "color": {"enum": ["red", "green", "blue"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 12},
        "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        "note": {"type": "string", "maxLength": 8},
    },
    "required": ["color", "count", "flags"],
    "additionalProperties": False,
}


@cache
def byte_tokenizer() -> Tokenizer:
    """Every byte, some merges of JSON, and two ends of text: ids 256 and up."""
    letters = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in letters]
    spelled = {b: chr(b) for b in letters} | {b: chr(256 + i) for i, b in enumerate(others)}
    tokens = [spelled[byte] for byte in range(256)]
    merges = ["t r", "tr u", "tru e", '" :', '" ,', "r e", "re d", 'Ġ "']
    tokens += [merge.replace(" ", "") for merge in merges]
    tokens += ["<|end|>", "<|over|>"]
    kinds = [1] * (len(tokens) - 2) + [3, 3]
    return from_gguf_metadata(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": kinds,
            "tokenizer.ggml.merges": merges,
            "tokenizer.ggml.eos_token_id": len(tokens) - 2,
            "tokenizer.ggml.eot_token_id": len(tokens) - 1,
        }
    )


def vocabulary() -> GrammarVocabulary:
    return GrammarVocabulary.of(byte_tokenizer())


def ids_in(mask: Any) -> list[int]:
    return list(np.flatnonzero(np.unpackbits(mask, bitorder="little")))


def walk(constraint: GrammarConstraint, seed: int, limit: int = 400) -> str | None:
    """A text of ids drawn evenly from what is allowed; None if it never ended."""
    random, tokenizer, said = np.random.default_rng(seed), byte_tokenizer(), []
    for _ in range(limit):
        token = int(random.choice(ids_in(constraint.mask())))
        constraint.advance(token)
        if token in tokenizer.eos_ids:
            return tokenizer.decode(said)
        said.append(token)
        for forced in constraint.forced():
            assert allows(constraint.mask(), forced)
            constraint.advance(forced)
            said.append(forced)
    return None


@given(st.integers(0, 10_000))
@settings(max_examples=60)
def test_every_walk_through_a_schema_follows_it(seed: int) -> None:
    text = walk(GrammarConstraint(vocabulary(), Grammar.json_schema(BOUNDED)), seed)
    assert text is not None
    jsonschema.validate(json.loads(text), BOUNDED)


leaves = st.sampled_from(
    [
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["a", 1, None]},
        {"const": {"x": [1]}},
        {"type": "integer", "minimum": -3, "maximum": 40},
        {"type": "string", "maxLength": 3},
        {"type": "string", "pattern": "^[ab]{1,4}$"},
    ]
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda s, n: {"type": "array", "items": s, "maxItems": n}, inner, st.just(2)),
        st.builds(
            lambda p, n: {
                "type": "object",
                "properties": p,
                "required": sorted(p)[:n],
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from("klm"), inner, max_size=3),
            st.integers(0, 3),
        ),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
    ),
    max_leaves=4,
)


@given(schemas, st.integers(0, 99))
@settings(max_examples=60)
def test_every_walk_through_any_schema_follows_it(schema: Any, seed: int) -> None:
    text = walk(GrammarConstraint(vocabulary(), Grammar.json_schema(schema)), seed)
    if text is not None:
        jsonschema.validate(json.loads(text), schema)


@given(schemas, st.integers(0, 99))
@settings(max_examples=40)
def test_whatever_validates_and_is_spelled_so_is_let_through(schema: Any, seed: int) -> None:
    text = walk(GrammarConstraint(vocabulary(), Grammar.json_schema(schema)), seed)
    if text is None:
        return
    compact = json.dumps(json.loads(text), separators=(",", ":"))
    constraint = GrammarConstraint(vocabulary(), Grammar.json_schema(schema))
    for token in byte_tokenizer().encode(compact):
        assert allows(constraint.mask(), token) or constraint.forced()
        if constraint.forced():  # the same bytes, cut otherwise
            return
        constraint.advance(token)
    assert constraint.accepts


@pytest.mark.parametrize("pattern", ["[a-f]{3}[0-9]{2}", "(red|green|blu(e|ish))", "a{2,5}b?"])
def test_walks_through_a_regex_match_it(pattern: str) -> None:
    for seed in range(20):
        text = walk(GrammarConstraint(vocabulary(), Grammar.regex(pattern)), seed)
        assert text is not None and re.fullmatch(pattern, text)


def test_walks_through_lark_follow_it() -> None:
    grammar = Grammar.lark('start: "(" inner ")"\ninner: /[0-9]/ | "(" inner ")"')
    for seed in range(20):
        text = walk(GrammarConstraint(vocabulary(), grammar), seed)
        assert text is not None and re.fullmatch(r"(\(+)[0-9](\)+)", text)
        assert text.count("(") == text.count(")")


def test_ends_of_text_come_where_the_grammar_is_fulfilled_and_only_there() -> None:
    constraint, ends = GrammarConstraint(vocabulary(), Grammar.regex("ab?")), vocabulary().eos_ids
    assert not any(allows(constraint.mask(), end) for end in ends)
    constraint.advance(ord("a"))
    assert constraint.accepts and all(allows(constraint.mask(), end) for end in ends)
    constraint.advance(ord("b"))
    assert set(ids_in(constraint.mask())) == set(ends)


@pytest.mark.parametrize(
    ("wish", "rule"),
    [
        ({"type": "array", "uniqueItems": True}, "Unimplemented keys"),
        ({"not": {"type": "string"}}, "Unimplemented keys"),
        ({"x-guidance": {"lenient": True}, "not": {}}, "Unimplemented keys"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "string", "format": "sonnet"}, "Unknown format"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"),
        ({"$ref": "http://example.invalid/"}, "not present"),
        ({"type": "regex", "pattern": "("}, "unclosed group"),
        ({"type": "lark", "grammar": "start: <|end|>"}, "no tokenizer"),
        ({"type": "lark", "grammar": "start: foo"}, "unknown name"),
    ],
)
def test_what_cannot_be_enforced_is_refused(wish: Any, rule: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"\[format\] .*must be enforceable, .*{rule}"):
        AnswerFormat.of(wish)


@pytest.mark.parametrize(
    "wish",
    [3, "yaml", [], {"type": "json_schema"}, {"type": "regex"}, {"type": "lark", "grammar": 3},
     {"type": "json_schema", "json_schema": {"name": 3, "schema": {}}}, {"enum": {1, 2}}],
)  # fmt: skip
def test_a_wish_that_is_no_format_is_refused(wish: Any) -> None:
    with pytest.raises(IngleError, match=r"^\[format\] .*but got"):
        AnswerFormat.of(wish)


def test_a_reference_to_itself_ends_in_an_error() -> None:
    with pytest.raises(IngleError, match=r"^\[format\]"):
        GrammarConstraint(vocabulary(), Grammar.json_schema({"$ref": "#"})).mask()


def test_lenient_says_what_it_leaves_out() -> None:
    grammar = Grammar.json_schema({"type": "array", "uniqueItems": True}, lenient=True)
    assert grammar.left_out == ('Unimplemented keys: ["uniqueItems"]',)


def test_every_spelling_of_a_format_means_the_same() -> None:
    class Color(BaseModel):
        name: str

    schema = Color.model_json_schema()
    chat = {"type": "json_schema", "json_schema": {"name": "Color", "schema": schema}}
    responses = {"type": "json_schema", "name": "Color", "schema": schema, "strict": True}
    found = [AnswerFormat.of(wish) for wish in (Color, chat, responses)]
    assert found[0] == found[1] == found[2]
    plain = AnswerFormat.of(schema)
    assert plain is not None and found[0] is not None and plain.grammar == found[0].grammar
    assert AnswerFormat.of("json") == AnswerFormat.of({"type": "json_object"})
    assert AnswerFormat.of(None) is AnswerFormat.of({"type": "text"}) is AnswerFormat.of("text")


@given(st.sets(st.integers(0, 99)), st.integers(0, 99), st.integers(0, 99))
def test_bits(ids: set[int], old: int, new: int) -> None:
    bits = bits_of(ids, 100)
    assert set(ids_in(bits)) == ids
    assert {i for i in range(120) if allows(bits, i)} == ids
    exchange(bits, old, new)
    assert set(ids_in(bits)) == ((ids - {old}) | {new} if old in ids else ids)


def test_costs_are_counted() -> None:
    constraint = GrammarConstraint(vocabulary(), Grammar.json_schema(BOUNDED))
    walk(constraint, 1)
    assert constraint.cost.masks > 3
    assert 0 < constraint.cost.mask_us < 1e6
    assert constraint.cost.compile_s > 0
