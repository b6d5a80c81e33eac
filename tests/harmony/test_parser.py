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

# Vector of openai-harmony -> what we read instead: (role, channel, recipient, type, content) of
# each message, the rules broken, and why.
DEVIATIONS: dict[str, tuple[list[tuple[str | None, ...]], set[str], str]] = {
    "p07_no_channel": (
        [("assistant", "final", None, None, "hello")],
        {rules.NO_CHANNEL},
        "readers route by channel: there always is one",
    ),
    "p08_missing_message_strict": (
        [
            ("assistant", "analysis", None, None, "I must refuse"),
            ("assistant", "final", None, None, "no"),
        ],
        {rules.NO_MESSAGE},
        "the library raises; refusals of 120b come so",
    ),
    "p10_text_before_header_lenient": (
        [
            ("assistant", "final", None, None, "I must refuse"),
            ("assistant", "final", None, None, "no"),
        ],
        {rules.NO_CHANNEL, rules.NO_MESSAGE},
        "headerless text is an answer",
    ),
    "p13_unknown_role": (
        [("assistant", "final", None, None, "x")],
        {rules.NO_ROLE, rules.NO_CHANNEL},
        "the library raises; a model's message is the assistant's",
    ),
    "p14_garbage_between_messages": (
        [("assistant", "final", None, None, "a")],
        {rules.STRAY_TEXT},
        "the library raises; the request must live on",
    ),
    "p16_truncated_content_no_eos": (
        [("assistant", "final", None, None, "partial answ")],
        {rules.CUT_OFF},
        "what there is of a message cut off is given",
    ),
    "p17_truncated_header": (
        [],
        {rules.STRAY_TOKEN},
        "the library raises; half a channel's name says nothing",
    ),
    "p18_empty_channel": (
        [("assistant", "final", None, None, "x")],
        {rules.BAD_CHANNEL, rules.NO_CHANNEL},
        "the library raises",
    ),
    "p20_three_words": (
        [("assistant", "commentary", "functions.f", "json", "{}")],
        {rules.STRAY_WORDS},
        "the library raises; recipient and type are plain to see",
    ),
    "p21_start_in_content": (
        [
            ("assistant", "analysis", None, None, "thinking"),
            ("assistant", "final", None, None, "x"),
        ],
        {rules.NO_END},
        "the library takes marks for text, so that reasoning swallows the answer",
    ),
    "p22_channel_twice": (
        [("assistant", "commentary", None, None, "x")],
        {rules.TWO_CHANNELS},
        "the library calls a tool named <|channel|>analysis",
    ),
    "p26_constrain_in_channel_only": (
        [("assistant", "final", None, "<|constrain|>json", '{"a":1}')],
        set(),
        "the library calls a tool named <|constrain|>json",
    ),
    "p27_eos_only": ([], set(), "the library raises"),
    "p29_endoftext_in_content": (
        [("assistant", "final", None, None, "abc")],
        {rules.WRONG_END, rules.STRAY_TEXT, rules.STRAY_TOKEN},
        "<|endoftext|> is no text: generation stops at it",
    ),
    "p31_recipient_with_channel_glued": (
        [("assistant", "commentary", None, "<|constrain|>json", "{}")],
        {rules.WRONG_END},
        "the library calls a tool named <|constrain|>json",
    ),
    "p32_no_space_after_channel_value": (
        [("assistant", "analysis", "python", None, "x")],
        {rules.BAD_CHANNEL},
        "the library has a channel named analysisto=python",
    ),
    "p33_lenient_second_malformed_is_lost": (
        [
            ("assistant", "analysis", None, None, "a"),
            ("assistant", "final", None, None, "lost text"),
            ("assistant", "final", None, None, "x"),
        ],
        {rules.NO_MESSAGE},
        "the library drops a message",
    ),
    "p34_unknown_role_with_extra_word_is_tool": (
        [("assistant", "final", None, "extra", "x")],
        {rules.NO_ROLE, rules.NO_CHANNEL},
        "a tool is what has a dot in its name or addresses somebody",
    ),
    "p35_no_role_in_header": (
        [("assistant", "final", None, None, "x")],
        {rules.NO_ROLE},
        "the library raises",
    ),
    "p36_assistantassistant": (
        [
            ("assistant", "analysis", None, None, "a"),
            ("assistant", "final", None, None, "x"),
        ],
        {rules.NO_ROLE},
        "the library raises",
    ),
    "p37_two_channels_with_recipient": (
        [("assistant", "commentary", "functions.f", "json", "{}")],
        {rules.TWO_CHANNELS},
        "the library calls functions.f<|channel|>commentary, in an endless loop",
    ),
}


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
            expected, broken, _ = DEVIATIONS[vector["name"]]
            assert (ours, set(parser.repairs)) == (expected, broken), vector["name"]
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
