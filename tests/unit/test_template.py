"""Chat templates. Oracle: transformers' rendering, kept in golden/tokenizer_templates.json."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from ingle.chat.conversation import Conversation, Message
from ingle.chat.template import render, render_ids
from ingle.errors import IngleError, UnsupportedError
from ingle.tokenizer import Tokenizer, from_gguf_metadata

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden/tokenizer_templates.json").read_text("utf-8")
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "[X]", "\x7f"]
USER = [{"role": "user", "content": "hi"}]


def byte_tokenizer(specials: list[str]) -> Tokenizer:
    """One token per byte, then the special tokens; <think> is visible text, the rest control."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    kinds = [4 if "think" in text else 3 for text in specials]
    return from_gguf_metadata(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.tokens": letters + specials,
            "tokenizer.ggml.token_type": [1] * 256 + kinds,
            "tokenizer.ggml.merges": [],
            "tokenizer.ggml.bos_token_id": 258,
            "tokenizer.ggml.eos_token_id": 257,
        }
    )


TOKENIZER = byte_tokenizer(SPECIALS)


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_rendering_equals_transformers(case: list[Any]) -> None:
    template, messages, prompt, variables, expected = case
    assert render(template, messages, prompt, **variables) == expected


def test_conversations_render_like_dictionaries() -> None:
    conversation = Conversation((Message("system", "a"), Message("user", "b", name="n")))
    template = CHATML + "{{ messages[1].name }}{{ messages[0].name is defined }}"
    expected = "<|im_start|>system\na<|im_end|>\n<|im_start|>user\nb<|im_end|>\nnFalse"
    assert render(template, conversation, add_generation_prompt=False) == expected
    assert render(template, conversation.messages, add_generation_prompt=False) == expected


def test_ids_of_harmless_talk_are_those_of_the_text() -> None:
    talk = [{"role": "user", "content": "2 < 3, 5 > 4 <b> [x] <"}]
    ids = render_ids(TOKENIZER, CHATML, talk)
    assert ids == TOKENIZER.encode_with_specials(render(CHATML, talk))


def test_template_gets_the_tokenizers_own_tokens() -> None:
    assert render_ids(TOKENIZER, "{{ bos_token }}a{{ eos_token }}", USER) == [
        258, *TOKENIZER.encode("a"), 257,
    ]  # fmt: skip


fragments = st.sampled_from(
    [*SPECIALS, "<|im_", "end|>", "<", "|", ">", " ", "\n", "im_end", "<|IM_END|>", "[", "X]", "a"]
)
said = st.lists(fragments, max_size=8).map("".join)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["system", "user", "tool"]), said), min_size=1))
@pytest.mark.parametrize("shown", ["m.content", "m.content | trim", "m.content.lower().strip()"])
def test_nothing_said_becomes_a_special_token(shown: str, talk: list[tuple[str, str]]) -> None:
    template = "<|im_start|>{% for m in messages %}{{ " + shown + " }}{% endfor %}<|im_end|>"
    messages = [{"role": role, "content": content} for role, content in talk]
    ids = render_ids(TOKENIZER, template, messages)
    marks = [i for i in ids if i >= 256]
    assert marks == [256, 257]
    inner = render(template, messages).removeprefix("<|im_start|>").removesuffix("<|im_end|>")
    assert TOKENIZER.decode(ids[1:-1]) == inner


def test_tools_and_names_never_become_special_tokens() -> None:
    template = "{{ tools | tojson }}{{ messages[0].name }}{{ persona }}"
    tools = [{"name<|im_end|>": ("<|im_start|>", {"description": "<think>"})}]
    messages = [{"role": "user", "content": "", "name": "<|im_end|>"}]
    ids = render_ids(TOKENIZER, template, messages, tools=tools, persona="<|endoftext|>")
    assert max(ids) < 256
    assert TOKENIZER.decode(ids) == render(template, messages, tools=tools, persona="<|endoftext|>")


def test_words_that_steer_a_template_are_left_alone() -> None:
    tokenizer = byte_tokenizer(["user", "role", "content"])
    template = "{% if messages[0].role == 'user' %}{{ messages[0].content }}{% endif %}"
    ids = render_ids(tokenizer, template, [{"role": "user", "content": "a user's content"}])
    assert ids == tokenizer.encode("a user's content")


def test_the_assistants_own_visible_tokens_stay_tokens() -> None:
    talk = [
        {"role": "user", "content": "<think>"},
        {"role": "assistant", "content": "<think>x</think><|im_end|>"},
    ]
    template = "{% for m in messages %}{{ m.content.split('</think>')[0] }}{% endfor %}"
    ids = render_ids(TOKENIZER, template, talk)
    think = TOKENIZER.special_tokens["<think>"]
    assert ids == [*TOKENIZER.encode("<think>"), think, *TOKENIZER.encode("x")]


HOSTILE = [
    "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{{ range(10**9) }}",
    "{{ 'a' * 10**9 }}",
    "{{ [1] * 10**9 }}",
    "{{ 10 ** (10 ** 10) }}",
    "{% set n = namespace(x=2) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x }}",
    "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x | tojson }}",
    "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x | string | length }}",
    "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(5) }}",
    "{% for x in [[]] recursive %}{{ loop(range(100000)) }}{{ loop([[]]) }}{% endfor %}",
    "{% set x %}{% for i in range(100000) %}" + "y" * 5000 + "{% endfor %}{% endset %}",
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({}) }}",
    "{{ namespace(__class__=1) }}",
    "{{ 'x'.center(10**9) }}",
    "{{ 'x'.encode() }}",
    "{{ (1).to_bytes(10**9, 'big') }}",
    "{{ 'x' | center(10**9) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ range(100000) | join('x' * 1000000) }}",
    "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
    "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
    "{{ ('b' * 1000000).join('a' * 1000000) }}",
    "{{ [1] | tojson(indent=10**9) }}",
    "{{ 'a\n' * 100000 | indent(10**9) }}",
    "{{ lipsum(10**6) }}",
    "{{ raise_exception('\x1b[2J\n\x07') }}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{{ nope() }}",
    "{{ nope.x }}",
    "{{ 1 / 0 }}",
    "{% if %}",
    "{{ [" * 999,
    "{% if a %}" * 999 + "{% endif %}" * 999,
    "x" * ((1 << 20) + 1),
]


@pytest.mark.parametrize("template", HOSTILE)
def test_hostile_templates_give_one_line(template: str) -> None:
    with pytest.raises(IngleError) as caught:
        render(template, USER)
    text = str(caught.value)
    assert text.startswith("[chat template] ")
    assert text.isprintable()
    assert len(text) < 500


def test_time_is_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**9))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with pytest.raises(IngleError, match="more than 2 seconds"):
        render("{% for i in range(99) %}{% endfor %}", USER)


def test_python_does_not_warn_about_templates() -> None:
    assert render("{{ 10[messages] }}", USER) == ""


def test_a_template_can_refuse() -> None:
    with pytest.raises(IngleError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}", USER)


def test_the_date_is_formatted() -> None:
    assert render("{{ strftime_now('%Y')|length }}{{ strftime_now('x') }}", USER) == "4x"


def test_openai_messages() -> None:
    conversation = Conversation.from_openai(
        [
            {"role": "developer", "content": "a", "name": "n"},
            {"role": "user", "content": [{"type": "text", "text": t} for t in "bc"]},
            {"role": "assistant", "content": None, "refusal": None, "tool_calls": []},
            {"role": "tool", "content": "d", "tool_call_id": "7"},
        ]
    )
    assert conversation.messages == (
        Message("developer", "a", name="n"),
        Message("user", "bc"),
        Message("assistant", ""),
        Message("tool", "d", tool_call_id="7"),
    )


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        (None, "messages"),
        ([], "messages"),
        ({"role": "user"}, "messages"),
        (["hi"], "messages[0]"),
        ([{"content": "hi"}], "messages[0].role"),
        ([{"role": "king", "content": "hi"}], "messages[0].role"),
        ([{"role": ["user"], "content": "hi"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([*USER, {"role": "user", "content": 3}], "messages[1].content"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": "x", "name": 5}], "messages[0].name"),
        ([{"role": "user", "content": "x", "contents": 5}], "messages[0]"),
    ],
)
def test_wrong_messages_are_named(messages: Any, where: str) -> None:
    with pytest.raises(IngleError) as caught:
        Conversation.from_openai(messages)
    assert caught.value.where == where


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"type": "custom"}]},
    ],
)
def test_later_features_are_refused(message: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError):
        Conversation.from_openai([message])
