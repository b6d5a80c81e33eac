"""Chats with tools end to end: a scripted gpt-oss, the true prompt, constraint, parser and loop."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingle.chat.constraint.bits import allows
from ingle.chat.harmony.tokens import CHANNEL
from ingle.chat.message import ToolCall
from ingle.chat.tools import ToolResult
from ingle.errors import IngleError, UnsupportedError

_spec = importlib.util.spec_from_file_location(
    "scripted_harmony", Path(__file__).with_name("scripted_harmony.py")
)
assert _spec is not None and _spec.loader is not None
scripted = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scripted)

CALLING = "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>{}<|call|>"
THINK = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>{}<|return|>"
REPLIES = [
    THINK.format("I look at the weather.") + CALLING.format("weather", '{"city": "Rome"}'),
    THINK.format("Now a table.") + CALLING.format("book", '{"city": "Rome", "hours": [12, 12]}'),
    CALLING.format("book", '{"city": "Rome", "hours": [12, 13]}'),
    THINK.format("Nothing is free.") + FINAL.format("Sunny, but no table is free."),
]


def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return f"sunny in {city}"


def book(city: str, hours: set[int]) -> str:
    """Book a table at one of some hours."""
    raise RuntimeError(f"no table in {city} at {sorted(hours)}")


def llm(*replies: str) -> Any:
    return scripted.ScriptedLLM(replies=replies)


@pytest.fixture
def model() -> Iterator[Any]:
    with llm(*REPLIES) as made:
        yield made


def told(completion: Any) -> list[tuple[str, str]]:
    return [(m.channel or m.role, m.content) for m in completion.messages]


def test_two_tools_one_failing_one_with_bad_arguments_then_an_answer(model: Any) -> None:
    results: list[ToolResult] = []
    done = model.chat("A table in Rome?", tools=[weather, book], on_result=results.append)
    assert done.text == done.answer == "Sunny, but no table is free."
    assert (done.finish_reason, done.tool_calls, done.repairs) == ("stop", (), {})
    assert [(r.call.name, r.content, r.failed) for r in results] == [
        ("weather", "sunny in Rome", False),
        ("book", "Error: $.hours must follow the schema, but got: [12, 12] has non-unique elements",
         True),
        ("book", "Error: RuntimeError: no table in Rome at [12, 13]", True),
    ]  # fmt: skip
    assert [r.call.id for r in results] == ["call_0", "call_1", "call_2"]
    assert told(done) == [
        ("analysis", "I look at the weather."),
        ("commentary", '{"city": "Rome"}'),
        ("tool", "sunny in Rome"),
        ("analysis", "Now a table."),
        ("commentary", '{"city": "Rome", "hours": [12, 12]}'),
        ("tool", results[1].content),
        ("commentary", '{"city": "Rome", "hours": [12, 13]}'),
        ("tool", results[2].content),
        ("analysis", "Nothing is free."),
        ("final", "Sunny, but no table is free."),
    ]


def test_prompts_keep_the_analysis_of_the_turn_and_grow_at_their_end(model: Any) -> None:
    model.chat("A table in Rome?", tools=[weather, book])
    prompts = model.backend.prompts
    texts = [model.tokenizer.decode(ids) for ids in prompts]
    for before, after, reply in zip(prompts, prompts[1:], model.backend.replies, strict=False):
        assert after[: len(before)] == before
        # The call comes back as the format's renderer writes it, with its analysis before it.
        assert model.tokenizer.decode(reply).split("<|channel|>commentary")[0] in (
            model.tokenizer.decode(after[len(before) :])
        )
    assert "type weather = (_: {" in texts[0] and "I look at the weather." not in texts[0]
    assert (
        "<|start|>functions.weather to=assistant<|channel|>commentary<|message|>sunny in Rome"
        in (texts[1])
    )
    assert texts[3].count("<|call|>") == 3
    assert texts[3].endswith("<|start|>assistant")


def test_pieces_and_parts_tell_the_same(model: Any) -> None:
    stream = model.chat("A table?", tools=[weather, book], stream=True)
    parts = list(stream.parts())
    assert "".join(p.text for p in parts if not p.is_reasoning) == "Sunny, but no table is free."
    assert "".join(p.text for p in parts if p.is_reasoning) == (
        "I look at the weather.Now a table.Nothing is free."
    )
    assert stream.finished and len(stream.results) == 3
    with llm(*REPLIES) as again:
        pieces = list(again.chat("A table?", tools=[weather, book], stream=True))
    assert "".join(pieces) == "Sunny, but no table is free."


def test_async_chats_run_tools_too(model: Any) -> None:
    async def ask() -> Any:
        return await model.achat("A table in Rome?", tools=[weather, book])

    assert asyncio.run(ask()).text == "Sunny, but no table is free."


def test_without_functions_the_calls_are_returned_and_the_chat_can_go_on(model: Any) -> None:
    declared = {"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}}}}  # fmt: skip
    done = model.chat("Weather?", tools=[declared])
    assert done.finish_reason == "tool_calls"
    assert done.tool_calls == (ToolCall("weather", '{"city": "Rome"}', "call_0"),)
    assert (done.text, done.reasoning) == ("", "I look at the weather.")
    with llm(FINAL.format("Sunny.")) as other:
        (call,) = done.tool_calls
        turns = [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [call.as_dict()],
             "reasoning_content": done.reasoning},
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ]  # fmt: skip
        assert other.chat(turns, tools=[declared]).text == "Sunny."
        (prompt,) = other.backend.prompts
        text = other.tokenizer.decode(prompt)
        assert "I look at the weather." in text and "sunny<|end|><|start|>assistant" in text


def test_turns_are_bounded_and_calls_can_be_declined() -> None:
    asked: list[ToolCall] = []

    def decline(call: ToolCall) -> bool:
        asked.append(call)
        return False

    with llm(*REPLIES) as bounded:
        done = bounded.chat("A table?", tools=[weather, book], max_turns=2)
        assert done.finish_reason == "tool_calls" and done.tool_calls[0].name == "book"
        assert len(bounded.backend.prompts) == 2
    with llm(REPLIES[0], FINAL.format("Then not.")) as declined:
        done = declined.chat("Weather?", tools=[weather], approve=decline)
        assert done.text == "Then not."
        assert ("tool", "The user declined this call.") in told(done)
        assert asked[0].arguments == '{"city": "Rome"}'


def test_an_unknown_tool_cannot_be_called() -> None:
    with llm(CALLING.format("shell", '{"rm": 1}'), FINAL.format("Well.")) as model:
        stream = model.chat("Hi", tools=[weather], stream=True, max_tokens=200, seed=1)
        with pytest.raises(AssertionError, match="the script was left"):
            stream.whole()
        said = model.tokenizer.decode(model.backend.seen)
        assert "to=functions." in said and "shell" not in said
        assert all(r.call.name == "weather" for r in stream.results)


def test_a_call_that_is_cut_off_is_reported_and_not_made() -> None:
    with llm(*REPLIES) as model:
        stream = model.chat("A table?", tools=[weather, book], stream=True, max_tokens=18)
        done = stream.whole()
    assert (done.finish_reason, done.cut_call, stream.results) == ("length", True, [])


def test_required_named_and_none() -> None:
    book_call = CALLING.format("book", '{"city": "Rome", "hours": [1]}')
    with llm(book_call, FINAL.format("No.")) as model:
        done = model.chat("Hi", tools=[weather, book], tool_choice="book")
        assert done.text == "No."  # after the call the choice is the model's again
    with llm(FINAL.format("No.")) as model:
        assert model.chat("Hi", tools=[weather], tool_choice="none").text == "No."
    with (
        llm(FINAL.format("No.")) as model,
        pytest.raises(AssertionError, match="the script was left"),
    ):
        model.chat("Hi", tools=[weather], tool_choice="required", max_tokens=300)


def test_formats_are_asked_for_and_enforced() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 7}},
              "required": ["n"], "additionalProperties": False}  # fmt: skip
    answer = THINK.format('{"n": 3}, or not?') + FINAL.format('{"n": 9}')
    with llm(answer) as model:
        done = model.chat("A number?", format=schema)
        assert json.loads(done.text) == {"n": 9}
        assert done.reasoning == '{"n": 3}, or not?'
        assert done.constraint_cost is not None and done.constraint_cost.masks > 0
        prompt = model.tokenizer.decode(model.backend.prompts[0])
        assert "# Response Formats\n\n## answer" in prompt and '"minimum":7' in prompt
    with llm(answer) as model, pytest.raises(UnsupportedError, match="must be enforceable"):
        model.chat("A number?", format={"not": {}})


def test_a_style_is_asked_for_and_enforced() -> None:
    answer = (
        "## Frage\nWas ist eins?\n\n## Antwort\n1. Eine Zahl.\n2. Die erste.\n\n## Schluss\nEins."
    )
    with llm(FINAL.format(answer)) as model:
        turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Eins?"}]
        assert model.chat(turns, style="structured").text == answer
        prompt = model.tokenizer.decode(model.backend.prompts[0])
        assert "Be kind.\n\nAnswer in the language of the question, in Markdown" in prompt
    parts = {"question": "Q", "points": ["a"], "conclusion": "c", "suggestions": ["d"]}
    with llm(FINAL.format(json.dumps(parts))) as model:
        assert json.loads(model.chat("Q?", style="structured", format="json").text) == parts


def test_a_reasoning_budget_closes_analysis_inside_max_tokens() -> None:
    long = THINK.format("one two three four five six seven") + FINAL.format("Eight.")
    with llm(long) as model:
        stream = model.chat("Count.", reasoning_budget=3, max_tokens=40, seed=3, stream=True)
        with pytest.raises(AssertionError, match="the script was left"):
            list(stream.parts())
        assert stream.request.constraint.spent == 3
        text = model.tokenizer.decode(model.backend.seen)
        assert "one two three<|end|><|start|>assistant<|channel|>final<|message|>" in text


@pytest.mark.parametrize("wish", ["none", "off", False])
def test_no_reasoning_opens_the_answer(wish: Any, model: Any) -> None:
    stream = model.chat("1 + 1?", reasoning=wish, stream=True)
    assert model.tokenizer.decode(stream.request.prompt_ids).endswith(
        "<|start|>assistant<|channel|>final<|message|>"
    )
    held = model.chat("1 + 1?", reasoning=wish, tools=[weather], stream=True).reply.request
    assert model.tokenizer.decode(held.prompt_ids).endswith("<|start|>assistant")
    held.constraint.advance(CHANNEL)
    (analysis,) = model.tokenizer.encode("analysis")
    assert not allows(held.constraint.mask(), analysis)


def test_wrong_options_are_refused_before_anything_runs() -> None:
    with llm(*REPLIES) as model:
        for options in (
            {"tools": [weather], "max_turns": 0},
            {"tools": "weather"},
            {"tools": [weather], "tool_choice": "shell"},
            {"tool_choice": "required"},
            {"reasoning_budget": -1},
            {"reasoning_budget": 5, "max_tokens": 4},
            {"tools": [{"name": "f", "strict": True, "parameters": {"not": {}}}]},
        ):
            with pytest.raises(IngleError, match=r"^\["):
                model.chat("Hi", **options)
        assert model.backend.prompts == []
