"""Parsing: as openai-harmony where that makes sense; never an exception, never a lost id."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingle.chat.event import Event, MessageEnd, MessageStart, Repair, TextDelta, ToolCallDelta
from ingle.chat.harmony import HarmonyMessage, HarmonyParser, HeaderGrammar, Phase, render
from ingle.chat.harmony import repairs as rules
from ingle.chat.harmony.repairs import RULES
from ingle.chat.harmony.tokens import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    ENDOFTEXT,
    MESSAGE,
    RETURN,
    START,
    VOCAB_SIZE,
)
from ingle.chat.message import Message
from ingle.tokenizer import o200k_harmony

FUZZER = Path(__file__).parents[1] / "hostile" / "fuzz_harmony.py"
encode = o200k_harmony().encode_with_specials

# Vector of openai-harmony -> what is read instead: role, channel, recipient, type and content of
# each message; the rules broken; why.
DEVIATIONS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "harmony_deviations.json").read_text()
)


def read(ids: list[int], role: str | None = "assistant") -> tuple[list[Event], HarmonyParser]:
    parser = HarmonyParser(role)
    events = [*parser.feed_many(ids), *parser.finish()]
    assert [i for event in events for i in event.ids] == ids
    return events, parser


def messages(events: list[Event]) -> list[Message]:
    return [event.message for event in events if isinstance(event, MessageEnd)]


def fields(message: Message) -> tuple[str | None, ...]:
    return (
        message.role,
        message.channel,
        message.recipient,
        message.content_type,
        message.content,
    )


def theirs(message: dict[str, Any]) -> tuple[str | None, ...]:
    keys = ("role", "channel", "recipient", "content_type", "content")
    return tuple(message.get(key) for key in keys)


def said(
    text: str, role: str | None = "assistant"
) -> tuple[list[tuple[str | None, ...]], set[str]]:
    """What a stream, written as text, says, and which rules were broken."""
    events, parser = read(encode(text), role)
    return [fields(message) for message in messages(events)], set(parser.repairs)


def test_the_librarys_vectors_and_every_deviation_from_them(vectors: dict[str, Any]) -> None:
    assert len(vectors["parse"]) == 37
    for vector in vectors["parse"]:
        events, parser = read(vector["tokens"], vector["role"])
        ours = [fields(message) for message in messages(events)]
        if vector["name"] in DEVIATIONS:
            expected = DEVIATIONS[vector["name"]]
            found = ([list(one) for one in ours], sorted(parser.repairs))
            assert found == (expected["messages"], expected["rules"]), vector["name"]
            assert ours != [theirs(m) for m in vector.get("messages", [])] or not ours
            continue
        assert ours == [theirs(message) for message in vector["messages"]], vector["name"]
    assert DEVIATIONS.keys() <= {vector["name"] for vector in vectors["parse"]}


words = st.sampled_from(["a", " b", "\n", "é", "🎉", "日本", "<|end|>", '{"a": 1}', "to=x", " "])
contents = st.lists(words, max_size=5).map("".join) | st.text(max_size=10)
recipients = st.sampled_from(["functions.f", "functions.get_weather", "python", "browser.search"])
types = st.sampled_from([None, "json", "code", "<|constrain|>json"])
plain = st.builds(
    lambda channel, text: HarmonyMessage("assistant", (text,), channel=channel),
    st.sampled_from(["analysis", "commentary", "final"]),
    contents,
)
calls = st.builds(
    lambda channel, to, kind, text: HarmonyMessage("assistant", (text,), None, channel, to, kind),
    st.sampled_from(["analysis", "commentary"]),
    recipients,
    types,
    contents,
)
results = st.builds(
    lambda name, text: HarmonyMessage("tool", (text,), name, "commentary", "assistant"),
    recipients,
    contents,
)
others = st.builds(
    lambda role, text: HarmonyMessage(role, (text,)),
    st.sampled_from(["user", "system", "developer"]),
    contents,
)


@settings(max_examples=500, suppress_health_check=list(HealthCheck))
@given(st.lists(plain | plain | calls | results | others, min_size=1, max_size=6))
def test_what_is_rendered_is_read_as_the_library_reads_it(
    library: Any, talk: list[HarmonyMessage]
) -> None:
    from openai_harmony import StreamableParser

    ids = render(talk, opens=None)
    reader = StreamableParser(library, None)
    for token_id in ids:
        reader.process(token_id)
    events, parser = read(ids, None)
    expected = [theirs(message) for message in json.loads(reader._inner.messages)]
    assert [fields(message) for message in messages(events)] == expected
    assert expected == [
        (m.role, m.channel, m.recipient, m.content_type, m.content[0]) for m in talk
    ]
    assert parser.repairs == {}


@pytest.mark.parametrize(
    "spelled",
    [
        "<|channel|>commentary to=functions.f <|constrain|>json",
        " to=functions.f<|channel|>commentary <|constrain|>json",
        " to=functions.f<|channel|>commentary<|constrain|>json",
        "<|channel|>commentary<|constrain|>json to=functions.f",
        "<|channel|>commentary <|constrain|>json to=functions.f",
        "assistant to=functions.f<|channel|>commentary <|constrain|>json",
        "<|constrain|>json<|channel|>commentary to=functions.f",
    ],
)
def test_a_recipient_stands_anywhere(spelled: str) -> None:
    expected = ("assistant", "commentary", "functions.f", "<|constrain|>json", "{}")
    assert said(f"{spelled}<|message|>{{}}<|call|>") == ([expected], set())


# Streams of issue trackers: what is said in them, and by which rules.
@pytest.mark.parametrize(
    ("text", "expected", "broken"),
    [
        (
            "final__HANDOFF__<|return|>",
            [("final", None, "final__HANDOFF__")],
            {rules.NO_MESSAGE, rules.NO_CHANNEL},
        ),
        (
            "<|channel|>final__HANDOFF__<|return|>",
            [("final", None, "__HANDOFF__")],
            {rules.NO_MESSAGE, rules.BAD_CHANNEL},
        ),
        (
            "<|channel|>??<|channel|>analysis<|message|>a<|end|>",
            [("analysis", None, "a")],
            {rules.BAD_CHANNEL, rules.STRAY_WORDS},
        ),
        (
            "<|channel|>commentary?<|message|>a<|end|>",
            [("commentary", None, "a")],
            {rules.BAD_CHANNEL, rules.STRAY_WORDS},
        ),
        (
            "<|channel|>commentary to=assistant<|channel|>analysis<|message|>a<|end|>",
            [("commentary", None, "a")],
            {rules.BAD_RECIPIENT, rules.TWO_CHANNELS},
        ),
        (
            "<|channel|>analysis<|message|>a<|end|>commentary to=functions.f json<|message|>{}"
            "<|call|>",
            [("analysis", None, "a"), ("commentary", "functions.f", "{}")],
            {rules.NO_START, rules.NO_ROLE},
        ),
        (
            "<|channel|>analysis<|message|>a<|end|><|channel|>final<|message|>b<|return|>",
            [("analysis", None, "a"), ("final", None, "b")],
            {rules.NO_START},
        ),
        (
            "<|channel|>analysis<|message|>a<|channel|>final<|message|>b<|return|>",
            [("analysis", None, "a"), ("final", None, "b")],
            {rules.NO_END},
        ),
        (
            "<|channel|>analysis<|message|>a<|end|>.<|return|>",
            [("analysis", None, "a"), ("final", None, ".")],
            {rules.NO_START, rules.NO_CHANNEL, rules.NO_MESSAGE},
        ),
        (
            "<|channel|>final<|message|>a<|end|>.<|return|>",
            [("final", None, "a")],
            {rules.STRAY_TEXT, rules.STRAY_TOKEN},
        ),
        (
            "<|channel|>final<|message|>a<|return|><|return|><|call|>",
            [("final", None, "a")],
            {rules.STRAY_TOKEN},
        ),
        (
            "<|channel|>commentary to=functions.f <|constrain|>write: edit file<|message|>{}"
            "<|call|>",
            [("commentary", "functions.f", "{}")],
            {rules.STRAY_WORDS},
        ),
        (
            '<|channel|>commentary to=functions.f <|constrain|>json {"a": 1}<|call|>',
            [("commentary", "functions.f", '{"a": 1}')],
            {rules.NO_MESSAGE},
        ),
        (
            "<|start|>assistant<|start|>assistant<|channel|>final<|message|>a<|return|>",
            [("final", None, "a")],
            {rules.STRAY_TOKEN},
        ),
        (
            "<|channel|>final<|message|>a<|message|>b<|return|>",
            [("final", None, "ab")],
            {rules.STRAY_TOKEN},
        ),
        (
            "<|channel|>commentary to=functions.f<|message|>{}<|end|>",
            [("commentary", "functions.f", "{}")],
            {rules.WRONG_END},
        ),
        (
            "<|start|>final<|message|>a<|return|>",
            [("final", None, "a")],
            {rules.NO_ROLE},
        ),
        (
            "<|message|>a<|return|>",
            [("final", None, "a")],
            {rules.NO_CHANNEL},
        ),
    ],
)
def test_streams_seen_in_the_wild(
    text: str, expected: list[tuple[str | None, ...]], broken: set[str]
) -> None:
    found, repairs = said(text)
    assert [(one[1], one[2], one[4]) for one in found] == expected
    assert repairs == broken


def test_a_call_cut_off_is_closed_and_told() -> None:
    events, parser = read(encode('<|channel|>commentary to=functions.f<|message|>{"a'))
    end = events[-1]
    assert isinstance(end, MessageEnd) and not end.complete
    assert (end.message.recipient, end.message.content) == ("functions.f", '{"a')
    assert parser.repairs == {rules.CUT_OFF: 1}


def test_headerless_text_streams_before_it_ends() -> None:
    ids = encode("I am sorry, but I can't help with that. Please ask me something else today.")
    parser = HarmonyParser()
    shown = [
        event.text
        for token_id in ids
        for event in parser.feed(token_id)
        if isinstance(event, TextDelta) and event.channel == "final"
    ]
    assert "".join(shown) == o200k_harmony().decode(ids)
    assert len(shown) > len(ids) // 2
    assert parser.phase is Phase.CONTENT


def test_a_header_that_never_ends_becomes_content() -> None:
    ids = encode("<|channel|>analysis" + " we think" * 100)
    events, parser = read(ids)
    assert [fields(m)[1] for m in messages(events)] == ["analysis"]
    assert messages(events)[0].content == " we think".strip() + " we think" * 99
    assert parser.repairs == {rules.NO_MESSAGE: 1, rules.CUT_OFF: 1}


def test_characters_split_over_tokens_come_whole() -> None:
    ids = encode("<|channel|>final<|message|>👨‍👩‍👧 né 𝔘𝔫𝔦<|return|>")
    events, _ = read(ids)
    texts = [event for event in events if isinstance(event, TextDelta)]
    assert "".join(event.text for event in texts) == "👨‍👩‍👧 né 𝔘𝔫𝔦"
    assert any(len(event.ids) > 1 for event in texts)
    half = ids[:4]
    assert "\ufffd" in messages(read(half)[0])[0].content


def test_deltas_of_calls_are_told_apart() -> None:
    events, _ = read(encode("<|channel|>commentary to=functions.f<|message|>{}<|call|>"))
    kinds = [type(event) for event in events]
    assert kinds == [MessageStart, ToolCallDelta, MessageEnd]
    call = events[1]
    assert isinstance(call, ToolCallDelta) and call.recipient == "functions.f"


def test_the_state_says_where_the_stream_is() -> None:
    parser = HarmonyParser()
    opened = tuple(encode("assistant"))
    assert (parser.phase, parser.header_ids) == (Phase.HEADER, opened)
    parser.feed(CHANNEL)
    assert parser.header_ids == (*opened, CHANNEL)
    parser.feed_many(encode("commentary to=functions.f <|constrain|>json<|message|>"))
    state = (parser.phase, parser.role, parser.channel, parser.recipient, parser.content_type)
    assert state == (
        Phase.CONTENT, "assistant", "commentary", "functions.f", "<|constrain|>json",
    )  # fmt: skip
    assert parser.header_ids == ()
    parser.feed(CALL)
    assert (parser.phase, parser.channel, parser.recipient) == (Phase.BETWEEN, None, None)
    parser.feed(START)
    assert (parser.phase, parser.header_ids) == (Phase.HEADER, ())


def test_a_grammar_of_headers_leads_to_declared_tools_alone() -> None:
    grammar = HeaderGrammar(["analysis", "final"], ["functions.f", "python"])
    found = set()

    def walk(ids: tuple[int, ...]) -> None:
        for token_id in grammar.allowed(ids):
            if token_id == MESSAGE:
                [(role, channel, to, _, _)], broken = said_by([START, *ids, MESSAGE, END])
                assert role == "assistant" and broken <= {rules.WRONG_END}
                found.add((channel, to))
            else:
                walk((*ids, token_id))

    walk(())
    assert found == {
        ("analysis", None), ("final", None), ("commentary", "functions.f"), ("analysis", "python"),
    }  # fmt: skip
    assert grammar.allowed([]) == {*encode("assistant")}
    assert grammar.allowed(encode("user")) == frozenset()


def said_by(ids: list[int]) -> tuple[list[tuple[str | None, ...]], set[str]]:
    events, parser = read(ids)
    return [fields(message) for message in messages(events)], set(parser.repairs)


marks = st.sampled_from([CALL, CHANNEL, CONSTRAIN, END, ENDOFTEXT, MESSAGE, RETURN, START])
bits = st.sampled_from(
    ["assistant", "user", "analysis", "final", "commentary", " to=functions.f", "json", " ", "hm"]
)
streams = st.lists(
    marks.map(lambda mark: [mark])
    | bits.map(o200k_harmony().encode)
    | st.integers(-2, VOCAB_SIZE + 2).map(lambda i: [i]),
    max_size=40,
).map(lambda parts: [i for part in parts for i in part])


@settings(max_examples=500)
@given(streams, st.sampled_from(["assistant", None]), st.integers(0, 40))
def test_any_ids_are_read_alike_however_they_come(
    ids: list[int], role: str | None, cut: int
) -> None:
    whole, _ = read(ids, role)
    parser = HarmonyParser(role)
    chunks = [parser.feed_many(ids[:cut]), parser.feed_many(ids[cut:]), parser.finish()]
    assert [event for chunk in chunks for event in chunk] == whole
    assert all(event.rule in RULES for event in whole if isinstance(event, Repair))


def test_every_rule_has_a_stream_that_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fuzzer(monkeypatch).fuzz(60_000, 3)
    assert found["ids"] >= 60_000
    assert found["repairs"].keys() == RULES.keys()


def fuzzer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FUZZER.parent))
    return importlib.import_module("fuzz_harmony")


@pytest.mark.slow
def test_a_million_ids() -> None:
    command = [sys.executable, str(FUZZER), "--count", "1000000", "--seed", "1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout)["ids"] >= 1_000_000
