"""What a constraint lets gpt-oss write: openai-harmony reads it, and jsonschema accepts it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle.chat.constraint import Grammar
from ingle.chat.constraint.bits import allows
from ingle.chat.event import MessageEnd
from ingle.chat.harmony import HarmonyParser
from ingle.chat.harmony.constraint import HarmonyConstraint, TurnRules, opened_answer
from ingle.chat.harmony.tokens import CALL, END, RETURN, START, STOPS
from ingle.tokenizer import o200k_harmony

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Rome", "Oslo"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "maximum": 9, "minimum": 0}},
    "required": ["ok"],
    "additionalProperties": False,
}
CALLS = {"functions.weather": Grammar.json_schema(WEATHER), "functions.go": Grammar.json_object()}


def write(rules: TurnRules, seed: int, opened: tuple[int, ...] = (), limit: int = 400) -> list[int]:
    """Ids drawn from what is allowed, those that end something more often; None if never ended."""
    tokenizer, random = o200k_harmony(), np.random.default_rng(seed)
    constraint, ids = HarmonyConstraint(tokenizer, rules, opened), list(opened)
    while len(ids) < limit:
        mask = constraint.mask()
        ends = [i for i in (*STOPS, END) if mask is None or allows(mask, i)]
        if ends and random.random() < 0.2:
            token = int(random.choice(ends))
        elif mask is None:
            token = int(random.integers(0, 190_000))
        else:
            token = int(random.choice(np.flatnonzero(np.unpackbits(mask, bitorder="little"))))
        said = [token]
        constraint.advance(token)
        if token not in STOPS:
            for forced in constraint.forced():
                mask = constraint.mask()
                assert mask is None or allows(mask, forced)
                constraint.advance(forced)
                said.append(forced)
        ids += said
        if token in STOPS:
            break
    return ids


def read(library: Any, ids: list[int]) -> list[Any]:
    from openai_harmony import Role

    return list(library.parse_messages_from_completion_tokens(ids, Role.ASSISTANT))


SEEDS = st.integers(0, 100_000)


@given(SEEDS)
@settings(max_examples=60)
def test_calls_go_to_declared_tools_with_arguments_that_follow(library: Any, seed: int) -> None:
    ids = write(TurnRules(calls=CALLS), seed)
    *before, last = read(library, ids)
    assert all(m.channel in ("analysis", "commentary") and m.recipient is None for m in before)
    if ids[-1] == CALL:
        assert last.recipient in CALLS and last.channel == "commentary"
        arguments = json.loads(last.content[0].text)
        jsonschema.validate(arguments, WEATHER if "weather" in last.recipient else {})
    elif ids[-1] == RETURN:
        assert last.channel == "final"
        assert last.recipient in (None, "<|constrain|>json")  # the library takes types for names
    parser = HarmonyParser()
    ends = [e for e in [*parser.feed_many(ids), *parser.finish()] if isinstance(e, MessageEnd)]
    assert not parser.repairs.keys() - {"cut-off"} or len(ids) >= 400
    assert [e.message.content for e in ends if e.complete] == [
        m.content[0].text for m in (*before, last)
    ][: sum(e.complete for e in ends)]


@given(SEEDS)
@settings(max_examples=40)
def test_a_required_call_is_made_and_no_answer_given(library: Any, seed: int) -> None:
    rules = TurnRules(("analysis",), {"functions.weather": CALLS["functions.weather"]}, budget=30)
    *before, last = read(library, write(rules, seed))
    assert last.recipient == "functions.weather"
    jsonschema.validate(json.loads(last.content[0].text), WEATHER)
    assert {m.channel for m in before} <= {"analysis"}


@given(SEEDS)
@settings(max_examples=40)
def test_the_answer_follows_a_schema_and_analysis_is_free(library: Any, seed: int) -> None:
    ids = write(TurnRules(answer=Grammar.json_schema(ANSWER)), seed)
    if ids[-1] != RETURN:
        return
    *_, last = read(library, ids)
    assert last.channel == "final"
    jsonschema.validate(json.loads(last.content[0].text), ANSWER)


@given(SEEDS, st.integers(0, 12))
@settings(max_examples=40)
def test_a_spent_budget_closes_analysis_and_opens_the_answer(
    library: Any, seed: int, budget: int
) -> None:
    ids = write(TurnRules(budget=budget, answer=Grammar.json_schema(ANSWER)), seed)
    parser, spent, at = HarmonyParser(), 0, 0
    for place, token in enumerate(ids, 1):
        inside = parser.channel == "analysis"
        parser.feed(token)
        if inside and parser.channel == "analysis":
            spent, at = spent + 1, place
    assert spent <= budget
    assert ids[-1] == RETURN or len(ids) >= 400
    if spent == budget:
        (role,) = o200k_harmony().encode("assistant")
        opening = (END, START, role, *opened_answer()) if budget else opened_answer()
        assert tuple(ids[at : at + len(opening)]) == opening


def test_a_budget_alone_masks_nothing_until_it_is_spent() -> None:
    rules, encode = TurnRules(budget=3), o200k_harmony().encode
    constraint = HarmonyConstraint(o200k_harmony(), rules)
    for token in (200005, *encode("analysis"), 200008, *encode("a b")):
        assert constraint.mask() is None and not constraint.forced()
        constraint.advance(token)
    constraint.advance(encode("c")[0])
    forced = (END, START, *encode("assistant"), *opened_answer())
    assert tuple(constraint.forced()) == forced
    assert len(forced) == rules.num_closing_ids
    for token in forced:
        mask = constraint.mask()
        assert mask is not None and allows(mask, token)
        constraint.advance(token)
    assert constraint.forced() == () and constraint.spent == 3
    assert allows(constraint.mask(), RETURN)  # type: ignore[arg-type]


def test_an_opened_answer_leaves_no_analysis(library: Any) -> None:
    for seed in range(5):
        ids = write(TurnRules(answer=Grammar.json_schema(ANSWER)), seed, opened_answer())
        (only,) = read(library, ids)
        assert only.channel == "final"
        jsonschema.validate(json.loads(only.content[0].text), ANSWER)


def test_code_for_python_is_any_text(library: Any) -> None:
    calls = {"python": None}
    ids = [write(TurnRules((), calls), seed) for seed in range(8)]
    for one in ids:
        (call,) = read(library, one)
        assert (call.recipient, call.channel) == ("python", "analysis")


@pytest.mark.parametrize("rules", [TurnRules(), TurnRules(budget=5)])
def test_without_rules_nothing_is_masked(rules: TurnRules) -> None:
    assert HarmonyConstraint(o200k_harmony(), rules).mask() is None


def test_costs_tell_of_the_vocabulary_once_it_was_needed() -> None:
    constraint = HarmonyConstraint(
        o200k_harmony(), TurnRules(answer=CALLS["functions.go"]), opened_answer()
    )
    constraint.mask()
    assert constraint.cost.vocabulary_s > 0 and constraint.cost.masks == 1
