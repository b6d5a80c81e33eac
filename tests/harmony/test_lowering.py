"""From HTTP dialects' messages to Harmony's, against the texts of the model's own chat template."""

from __future__ import annotations

from typing import Any

import pytest

from ingle.chat.conversation import Conversation
from ingle.chat.harmony import FunctionTool, HarmonySettings, render_conversation
from ingle.chat.harmony.content import ResponseFormat, ToolNamespace
from ingle.errors import IngleError
from ingle.tokenizer import o200k_harmony

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city": "SF"}'}}
TOOLS = (FunctionTool("f", "Does f.", {"type": "object", "properties": {}}),)


def shown(messages: list[dict[str, Any]], **settings: Any) -> str:
    conversation = Conversation.from_openai(messages)
    ids = render_conversation(conversation, HarmonySettings(**settings))
    return o200k_harmony().decode(ids)


def spoken(messages: list[dict[str, Any]], **settings: Any) -> str:
    """What follows the system message."""
    return shown(messages, **settings).partition("<|end|>")[2]


def test_a_plain_question_is_as_the_models_template_writes_it() -> None:
    # vector hf02_plain_user_high of openai/gpt-oss-20b's chat_template.jinja
    assert shown([{"role": "user", "content": "hi"}], effort="high", date="2025-06-28") == (
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
        "Knowledge cutoff: 2024-06\nCurrent date: 2025-06-28\n\nReasoning: high\n\n# Valid "
        "channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
        "<|start|>user<|message|>hi<|end|><|start|>assistant"
    )


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_a_round_of_tools_keeps_its_reasons(name: str) -> None:
    # as vector hf04_tool_roundtrip, but the type is constrained and the result not escaped
    talk = [
        {"role": "developer", "content": "D"},
        {"role": "user", "content": "w?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], name: "need f"},
        {"role": "tool", "content": '{"sunny": true}', "tool_call_id": "c1"},
    ]
    assert spoken(talk) == (
        "<|start|>developer<|message|># Instructions\n\nD<|end|><|start|>user<|message|>w?<|end|>"
        "<|start|>assistant<|channel|>analysis<|message|>need f<|end|>"
        "<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>"
        '{"city": "SF"}<|call|><|start|>functions.f to=assistant<|channel|>commentary<|message|>'
        '{"sunny": true}<|end|><|start|>assistant'
    )


def test_reasons_go_once_the_answer_is_given() -> None:
    talk = [
        {"role": "user", "content": "w?"},
        {"role": "assistant", "reasoning": "a", "tool_calls": [CALL], "content": "Wait."},
        {"role": "tool", "content": "r", "tool_call_id": "c1"},
        {"role": "assistant", "reasoning": "b", "content": "Sunny"},
        {"role": "user", "content": "thx"},
    ]
    assert spoken(talk, constrain_calls=False) == (
        "<|start|>user<|message|>w?<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>Wait.<|end|>"
        "<|start|>assistant to=functions.f<|channel|>commentary json<|message|>"
        '{"city": "SF"}<|call|><|start|>functions.f to=assistant<|channel|>commentary<|message|>'
        "r<|end|><|start|>assistant<|channel|>final<|message|>Sunny<|end|>"
        "<|start|>user<|message|>thx<|end|><|start|>assistant"
    )


def test_parallel_calls_are_told_apart_by_their_ids() -> None:
    calls = [
        {"id": str(i), "function": {"name": name, "arguments": {}}} for i, name in enumerate("fg")
    ]
    talk = [
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "content": "of f", "tool_call_id": "0"},
        {"role": "tool", "content": "of g", "tool_call_id": "1"},
    ]
    text = spoken(talk)
    assert "<|start|>functions.f to=assistant<|channel|>commentary<|message|>of f" in text
    assert "<|start|>functions.g to=assistant<|channel|>commentary<|message|>of g" in text


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ({"a": "é"}, '{"a": "é"}'),
        ('{"a": 1}', '{"a": 1}'),
        ('"{\\"a\\": 1}"', '{"a": 1}'),
        ('"half', '"half'),
        (None, "{}"),
        ("", ""),
    ],
)
def test_arguments_are_written_once(sent: Any, written: str) -> None:
    call = {"function": {"name": "f", "arguments": sent}}
    text = spoken([{"role": "assistant", "tool_calls": [call]}])
    assert text.endswith(f"json<|message|>{written}<|call|><|start|>assistant")


def test_effort_in_a_system_text() -> None:
    talk = [
        {"role": "system", "content": "Be kind.\nreasoning: HIGH\nBe brief."},
        {"role": "user", "content": "x"},
    ]
    text = shown(talk)
    assert "\n\nReasoning: high\n\n" in text
    assert "# Instructions\n\nBe kind.\nBe brief.<|end|>" in text
    assert "Reasoning: low" in shown(talk, effort="low")
    assert "Reasoning: medium" in shown([{"role": "user", "content": "Reasoning: high"}])


def test_tools_and_formats_are_declared_once() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    text = shown(
        [{"role": "system", "content": "I"}, {"role": "user", "content": "x"}],
        tools=TOOLS,
        builtins=(ToolNamespace("python", "Runs code."),),
        response_formats=(ResponseFormat("answer", schema, "How to answer."),),
    )
    assert "# Tools\n\n## python\n\nRuns code.\n\n# Valid channels" in text
    assert text.count("Calls to these tools must go to the commentary channel: 'functions'.") == 1
    assert (
        "# Instructions\n\nI\n\n# Tools\n\n## functions\n\nnamespace functions {\n\n// Does f.\n"
        "type f = (_: {\n}) => any;\n\n} // namespace functions\n\n# Response Formats\n\n## answer"
        '\n\n// How to answer.\n{"type":"object","properties":{"a":{"type":"integer"}}}<|end|>'
    ) in text


def test_built_in_tools_are_called_by_their_names_on_analysis() -> None:
    call = {"id": "1", "function": {"name": "python", "arguments": "1 + 1"}}
    talk = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "1"},
    ]
    text = spoken(talk, builtins=(ToolNamespace("python", "Runs code."),))
    assert text.startswith("<|start|>assistant to=python<|channel|>analysis code<|message|>1 + 1")
    assert "<|start|>python to=assistant<|channel|>commentary<|message|>2<|end|>" in text


def test_a_result_of_nothing_is_refused() -> None:
    with pytest.raises(IngleError, match="answers a call"):
        shown([{"role": "tool", "content": "x"}])
