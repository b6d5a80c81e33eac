"""Tools and thinking in chat templates: Qwen's own template, its marks as tokens or as text."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle.chat.constraint import Grammar, GrammarConstraint, GrammarVocabulary
from ingle.chat.constraint.bits import allows
from ingle.chat.constraint.thinking import Place, ThinkingConstraint, ThinkingTokens, place_of
from ingle.chat.message import Message, ToolCall
from ingle.chat.tools import Tool, ToolChoice
from ingle.chat.tools.written import CallScanner, check_template, grammar_source
from ingle.errors import IngleError, UnsupportedError
from ingle.llm.constraint import allowance, template_constraint
from ingle.llm.dialect import TemplateDialect, Wishes
from ingle.llm.piece import CallBegun, CallText
from ingle.llm.piece import Place as ReplyPlace
from ingle.llm.reader import TextReader
from ingle.tokenizer import Tokenizer, from_gguf_metadata

TEMPLATES = json.loads(
    (Path(__file__).parents[1] / "golden" / "tokenizer_templates.json").read_text()
)
MARKS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>")
CHATML = (
    "{%- if tools %}<|im_start|>system\nTools:{% for t in tools %} {{ t | tojson }}{% endfor %}\n"
    "Call as <tool_call>...</tool_call><|im_end|>\n{% endif %}{% for m in messages %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n'
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)


def tokenizer(marks: tuple[str, ...] = MARKS) -> Tokenizer:
    """Bytes and marks; those that begin a turn are control, the others text."""
    letters = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in letters]
    spelled = {b: chr(b) for b in letters} | {b: chr(256 + i) for i, b in enumerate(others)}
    tokens = [spelled[byte] for byte in range(256)]
    return from_gguf_metadata(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.tokens": [*tokens, *marks],
            "tokenizer.ggml.token_type": [1] * 256 + [3 if "|" in m else 4 for m in marks],
            "tokenizer.ggml.merges": [],
            "tokenizer.ggml.eos_token_id": 257,
        }
    )


def weather(city: str, days: int = 1) -> str:
    """Tell the weather."""
    return city * days


CHOICE = ToolChoice.of(None, (Tool.of(weather),))
REQUIRED = ToolChoice.of("required", (Tool.of(weather),))
SAID = 'Hm.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'


@given(st.lists(st.integers(0, len(SAID)), max_size=6))
def test_calls_are_found_wherever_the_text_is_cut(cuts: list[int]) -> None:
    scanner, shown = CallScanner(3), ""
    places = [0, *sorted(cuts), len(SAID)]
    for start, end in itertools.pairwise(places):
        shown += scanner.feed(SAID[start:end])
    assert shown + scanner.finish() == "Hm.\n"
    assert scanner.found == [ToolCall("weather", '{"city": "Rome"}', "call_3")]
    assert not scanner.cut


@pytest.mark.parametrize(
    ("text", "shown", "cut"),
    [
        ('<tool_call>\n{"name": "f"', '<tool_call>\n{"name": "f"', True),
        ("<tool_call>nonsense</tool_call>!", "<tool_call>nonsense</tool_call>!", False),
        ("<tool_call>[1]</tool_call>", "<tool_call>[1]</tool_call>", False),
        ("a < b <tool", "a < b <tool", False),
    ],
)
def test_what_is_no_call_stays_text(text: str, shown: str, cut: bool) -> None:
    scanner = CallScanner()
    assert scanner.feed(text) + scanner.finish() == shown
    assert (scanner.found, scanner.cut) == ([], cut)


@given(st.text(alphabet='<>/tol_cal{}"name:\n ', max_size=60))
def test_a_scanner_loses_no_text(text: str) -> None:
    scanner = CallScanner()
    shown = "".join(scanner.feed(c) for c in text) + scanner.finish()
    if not scanner.found:
        assert shown == text.replace("</tool_call>\n", "</tool_call>") or shown == text


@pytest.mark.parametrize("marks", [MARKS, MARKS[:2]], ids=["as tokens", "as text"])
@pytest.mark.parametrize("choice", [CHOICE, REQUIRED], ids=["auto", "required"])
def test_calls_are_held_to_their_schema(marks: tuple[str, ...], choice: ToolChoice) -> None:
    words = tokenizer(marks)

    def accepts(text: str) -> bool:
        held = template_constraint(words, "", "", None, choice=choice)
        assert isinstance(held, GrammarConstraint)
        for token in words.encode_with_specials(text):
            if not allows(held.mask(), token):
                return False
            held.advance(token)
        return held.accepts

    call = SAID.removeprefix("Hm.\n")
    assert accepts(call)
    assert accepts("Hello.") == accepts(SAID) == (choice is CHOICE)
    if choice is REQUIRED or marks == MARKS:
        assert not accepts(call.replace("weather", "shell"))
        assert not accepts(call.replace("city", "town"))
        assert not accepts(call.replace('"Rome"', "3"))


def test_references_of_a_tool_are_to_its_own_schema() -> None:
    pair = {"$defs": {"b": {"enum": ["x"]}}, "properties": {"a": {"$ref": "#/$defs/b"}}}
    pair |= {"type": "object", "required": ["a"], "additionalProperties": False}
    other = {**pair, "$defs": {"b": {"enum": ["y"]}}}
    tools = (Tool("one", parameters=pair), Tool("two", parameters=other))
    words = tokenizer()

    def accepts(name: str, value: str) -> bool:
        choice = ToolChoice.of("required", tools)
        held = template_constraint(words, "", "", None, choice=choice)
        assert held is not None
        call = f'<tool_call>\n{{"name": "{name}", "arguments": {{"a": "{value}"}}}}\n</tool_call>'
        for token in words.encode_with_specials(call):
            bits = held.mask()
            if bits is not None and not allows(bits, token):
                return False
            held.advance(token)
        return True

    assert accepts("one", "x") and accepts("two", "y")
    assert not accepts("one", "y") and not accepts("two", "x")


def test_a_template_that_takes_tools_is_given_them_and_calls_come_back_as_objects() -> None:
    dialect = TemplateDialect(tokenizer(), CHATML)
    call = ToolCall("weather", '{"city": "Rome"}', "call_0")
    turns = [
        {"role": "user", "content": "Hi"},
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "sunny", name="weather", tool_call_id="call_0"),
    ]
    made = dialect.prepare(turns, Wishes(choice=CHOICE))
    text = tokenizer().decode(made.ids)
    assert '"name": "weather"' in text.split("<|im_end|>")[0]
    assert '{"name": "weather", "arguments": {"city": "Rome"}}' in text
    assert made.constraint is not None


def test_templates_without_tools_are_refused_with_a_hint() -> None:
    check_template(CHATML)
    for template, got in (("{{ messages }}", "no tools in it"), ("{{ tools }}", "no such mark")):
        with pytest.raises(UnsupportedError, match=rf"(?s)\[tools\] .*{got}.*gpt-oss or Qwen3"):
            check_template(template)
    known = [name for name, one in TEMPLATES.items() if "<tool_call>" in str(one)]
    assert all("tools" in str(TEMPLATES[name]) for name in known)


WORDS = tokenizer()
TOKENS = ThinkingTokens.of(WORDS)
SCHEMA = {"type": "object", "properties": {"n": {"enum": [1, 22]}}, "required": ["n"],
          "additionalProperties": False}  # fmt: skip


@given(st.integers(0, 9999), st.sampled_from(list(Place)), st.none() | st.integers(0, 20))
@settings(max_examples=60)
def test_thoughts_are_free_and_bounded_and_answers_held(
    seed: int, place: Place, budget: int | None
) -> None:
    assert TOKENS is not None
    answer = GrammarConstraint(GrammarVocabulary.of(WORDS), Grammar.json_schema(SCHEMA))
    held = ThinkingConstraint(WORDS, TOKENS, answer, place, budget)
    random, said = np.random.default_rng(seed), [TOKENS.begin] if place is Place.INSIDE else []
    for _ in range(300):
        mask = held.mask()
        assert mask is not None
        ends = [i for i in (*WORDS.eos_ids, TOKENS.end) if allows(mask, i)]
        choices = np.flatnonzero(np.unpackbits(mask, bitorder="little"))
        token = int(random.choice(ends if ends and random.random() < 0.1 else choices))
        held.advance(token)
        said.append(token)
        if token in WORDS.eos_ids:
            break
        for forced in held.forced():
            held.advance(forced)
            said.append(forced)
    text = WORDS.decode([i for i in said if i not in WORDS.eos_ids])
    thought, closed, rest = text.rpartition("</think>")
    if said[-1] in WORDS.eos_ids:
        assert json.loads(rest)["n"] in (1, 22)
    if closed and budget is not None:
        inside = said[: said.index(TOKENS.end)]
        assert len(inside) - inside.count(TOKENS.begin) <= budget + len(TOKENS.closing)
    assert thought.count("<think>") <= 1


def test_a_budget_alone_masks_nothing_before_it_is_spent() -> None:
    assert TOKENS is not None
    held = ThinkingConstraint(WORDS, TOKENS, None, Place.INSIDE, 2)
    for token in WORDS.encode("ab"):
        assert held.mask() is None and not held.forced()
        held.advance(token)
    assert tuple(held.forced()) == TOKENS.closing
    for token in TOKENS.closing:
        held.advance(token)
    assert held.mask() is None and held.place is Place.AFTER


def test_where_a_prompt_leaves_the_model() -> None:
    assert place_of("assistant\n") is Place.BEFORE
    assert place_of("assistant\n<think>\n") is Place.INSIDE


@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 12))
def test_an_allowance_leaves_a_quarter_for_the_answer(most: int, limit: int, closing: int) -> None:
    if limit <= closing:
        with pytest.raises(IngleError, match=r"\[max_tokens\]"):
            allowance(most, limit, closing)
        return
    allowed = allowance(most, limit, closing)
    assert allowed is not None and 0 <= allowed <= most
    assert allowed == 0 or limit - allowed - closing >= limit / 4
    assert allowance(None, limit, closing) is None and allowance(most, None, closing) == most


@pytest.mark.parametrize("budget", [-1, 1.5, True, "many"])
def test_a_budget_is_a_count(budget: Any) -> None:
    with pytest.raises(IngleError, match=r"\[reasoning_budget\] the budget must be a whole number"):
        allowance(budget, None, 3)


def test_lark_of_calls_is_compiled() -> None:
    for choice in (CHOICE, REQUIRED):
        for marks in (None, (260, 261)):
            grammar = Grammar.trusted_lark(grammar_source(choice, marks))
            GrammarConstraint(GrammarVocabulary.of(WORDS), grammar).mask()


@pytest.mark.parametrize("parallel", [True, False])
def test_one_reply_may_make_one_call_alone(parallel: bool) -> None:
    choice = replace(REQUIRED, parallel=parallel)
    grammar = Grammar.trusted_lark(grammar_source(choice, (260, 261)))
    held = GrammarConstraint(GrammarVocabulary.of(WORDS), grammar)
    for token_id in WORDS.encode_with_specials(SAID.removeprefix("Hm.\n")):
        held.advance(token_id)
    assert allows(held.mask(), 260) is parallel


def test_a_call_in_text_is_told_once_it_is_whole() -> None:
    made = tokenizer()
    reader = TextReader(made, (), False, CallScanner(id_prefix="call_x_"))
    pieces, places = [], []
    for token_id in made.encode_with_specials(f"<think>\nA\n</think>\n\n{SAID}"):
        pieces += reader.feed(token_id)
        places.append(reader.place)
    pieces += reader.finish()
    assert pieces[-2:] == [CallBegun(0, "call_x_0", "weather"), CallText(0, '{"city": "Rome"}')]
    assert places[:5] == [ReplyPlace.REASONING] * 5  # both marks, and what is between
    assert places[-1] is ReplyPlace.ANSWER
