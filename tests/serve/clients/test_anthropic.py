"""Anthropic's Messages API by Anthropic's own client, over a scripted model and gpt-oss."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import pytest

from ingle.tokenizer import o200k_harmony

Script = Any
Open = Callable[[str], anthropic.Anthropic]

CALL = "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>{}<|call|>"
THINK = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>{}<|return|>"
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
ASK: Any = {
    "model": "gpt-oss:20b",
    "max_tokens": 2000,
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture
def open_client() -> Iterator[Open]:
    """A client of the server at a URL, closed with the test."""
    with contextlib.ExitStack() as stack:

        def begin(url: str) -> anthropic.Anthropic:
            made = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
            return stack.enter_context(made)

        yield begin


@pytest.fixture
def client(url: str, open_client: Open) -> anthropic.Anthropic:
    return open_client(url)


def scripted(text: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return {"model": "scripted", "max_tokens": 100, "messages": messages, **more}


def test_a_message(client: anthropic.Anthropic) -> None:
    said = client.messages.create(**scripted("hello"))
    assert [block.to_dict() for block in said.content] == [
        {"type": "text", "text": "You said: hello"}
    ]
    assert (said.type, said.role, said.model) == ("message", "assistant", "scripted")
    assert (said.stop_reason, said.stop_sequence) == ("end_turn", None)
    assert said.usage.output_tokens == len("You said: hello") + 1
    assert said.usage.input_tokens > len("hello")


def test_what_is_at_hand_of_a_prompt_is_counted(client: anthropic.Anthropic) -> None:
    question = "a long question " * 6
    first = client.messages.create(**scripted(question))
    again = client.messages.create(**scripted(question))
    assert (first.usage.cache_read_input_tokens, again.content) == (0, first.content)
    assert again.usage.cache_read_input_tokens
    total = again.usage.input_tokens + again.usage.cache_read_input_tokens
    assert total == first.usage.input_tokens


def test_models_are_listed(client: anthropic.Anthropic) -> None:
    (model,) = client.models.list()
    assert (model.id, model.type) == ("scripted", "model")
    assert client.models.retrieve("scripted").max_input_tokens == 256


def test_events_come_in_their_order(url: str) -> None:
    ask = ("POST", f"{url}/v1/messages")
    with httpx.stream(*ask, json=scripted("hi", stream=True), timeout=60) as answer:
        lines = [line for line in answer.iter_lines() if line]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    bodies = [json.loads(line.removeprefix("data: ")) for line in lines[1::2]]
    assert names == [body["type"] for body in bodies]
    deltas = names.count("content_block_delta")
    assert names[1] == "ping"
    assert [name for name in names if name != "ping"] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert bodies[0]["message"]["stop_reason"] is None
    told = [body["delta"]["text"] for body in bodies if body["type"] == "content_block_delta"]
    assert "".join(told) == "You said: hi"
    assert bodies[-2]["usage"]["output_tokens"] == len("You said: hi") + 1


def test_a_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**scripted("grüße 👋")) as stream:
        assert "".join(stream.text_stream) == "You said: grüße 👋"
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    whole = client.messages.create(**scripted("grüße 👋"))
    assert [block.text for block in final.content] == [block.text for block in whole.content]
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_where_answers_end(client: anthropic.Anthropic) -> None:
    cut = client.messages.create(**scripted("x", max_tokens=3))
    assert (cut.content[0].text, cut.stop_reason) == ("You", "max_tokens")
    stopped = client.messages.create(**scripted("x", stop_sequences=["xyz", "said"]))
    assert (stopped.content[0].text, stopped.stop_reason) == ("You ", "stop_sequence")
    assert stopped.stop_sequence == "said"
    with client.messages.stream(**scripted("x", stop_sequences=["said"])) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", "said")


def test_system_texts_and_counting(client: anthropic.Anthropic) -> None:
    body = scripted("x", system=[{"type": "text", "text": "Be kind.", "cache_control": None}])
    told = client.messages.create(**body)
    del body["max_tokens"]
    counted = client.messages.count_tokens(**body)
    assert counted.input_tokens == told.usage.input_tokens
    bare = client.messages.count_tokens(model="scripted", messages=body["messages"])
    assert bare.input_tokens < counted.input_tokens


def test_what_means_nothing_here_is_tolerated(client: anthropic.Anthropic) -> None:
    said = client.messages.create(
        **scripted("x", metadata={"user_id": "me"}),
        service_tier="auto",
        thinking={"type": "adaptive"},
        output_config={"effort": "high"},
        extra_body={
            **{"context_management": {"edits": []}, "never_heard": 1},
            **{"temperature": 0.5, "top_p": 0.9, "top_k": 40},  # older versions have parameters
        },
        extra_headers={"anthropic-beta": "anything-2026-01-01"},
    )
    assert said.content[0].text == "You said: x"
    off = client.messages.create(**scripted("x", thinking={"type": "disabled"}))
    assert off.content[0].text == "You said: x"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
            "messages",
        ),
        ({"max_tokens": None}, "max_tokens]"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 2}, "temperature"),
        ({"top_p": "x"}, "top_p"),
        ({"stream": "yes"}, "stream]"),
        ({"system": 5}, "system]"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content]"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"thinking": {"type": "hard"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "thinking.budget_tokens"),
        ({"thinking": THINKING, "max_tokens": 2000}, "reasoning"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"tools": [{"name": "x", "type": "web_search_20250305"}]}, "tools.0.type"),
        ({"tools": [WEATHER]}, "tools"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ],
)
def test_what_is_wrong_is_named(url: str, wrong: dict[str, Any], field: str) -> None:
    answer = httpx.post(f"{url}/v1/messages", json=scripted("x") | wrong, timeout=60)
    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
    assert told["error"]["message"].startswith(f"[{field}"), answer.text


def test_mistakes_are_the_clients_own_exceptions(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as told:
        client.messages.create(**scripted("x" * 1000))
    assert isinstance(told.value.body, dict)
    said = told.value.body["error"]["message"]
    assert re.match(r"prompt is too long: 1\d{3} tokens > 256 maximum\n", said)
    with (
        pytest.raises(anthropic.BadRequestError, match="1 to 256 tokens"),
        client.messages.stream(**scripted("x" * 1000)),
    ):
        pass


def test_a_client_that_goes_away_ends_its_answer(
    client: anthropic.Anthropic, script: Script
) -> None:
    script.replies["long"] = [65] * 200
    script.gate = threading.Event()
    stream = client.messages.create(**scripted("long", max_tokens=190), stream=True)
    assert next(iter(stream)).type == "message_start"
    script.gate.set()
    stream.close()
    scheduler = script.llm.engine.scheduler
    waited = threading.Event()
    for _ in range(600):
        if not scheduler.running and not len(scheduler.line):
            break
        waited.wait(0.1)
    assert not scheduler.running
    assert script.steps < 150  # it was not computed to its end


@pytest.mark.parametrize("stream", [False, True])
def test_thinking(gpt_oss: Callable[..., Any], open_client: Open, stream: bool) -> None:
    url, backend = gpt_oss([THINK.format("It is spring.") + FINAL.format("Mild.")])
    said = answer(open_client(url), stream, thinking=THINKING)
    thought, text = said.content
    assert (thought.type, thought.thinking) == ("thinking", "It is spring.")
    assert thought.signature
    assert (text.type, text.text) == ("text", "Mild.")
    assert said.usage.output_tokens_details.thinking_tokens > 0
    assert "Reasoning: low" in o200k_harmony().decode(backend.prompts[0])


def test_thinking_that_is_not_asked_for_is_not_told(
    gpt_oss: Callable[..., Any], open_client: Open
) -> None:
    reply = THINK.format("It is spring.") + FINAL.format("Mild.")
    url, _ = gpt_oss([reply, reply])
    client = open_client(url)
    for stream in (False, True):
        assert [block.type for block in answer(client, stream).content] == ["text"]


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_whose_text_is_left_out(
    gpt_oss: Callable[..., Any], open_client: Open, stream: bool
) -> None:
    url, _ = gpt_oss([THINK.format("It is spring.") + FINAL.format("Mild.")])
    kept = {"type": "adaptive", "display": "omitted"}
    thought, _ = answer(open_client(url), stream, thinking=kept).content
    assert (thought.thinking, bool(thought.signature)) == ("", True)


@pytest.mark.parametrize("stream", [False, True])
def test_tools(gpt_oss: Callable[..., Any], open_client: Open, stream: bool) -> None:
    call = THINK.format("I must look.") + CALL.format("get_weather", '{"city": "Paris"}')
    url, backend = gpt_oss([call, FINAL.format("Sunny.")])
    client = open_client(url)
    said = answer(client, stream, tools=[WEATHER])
    assert said.stop_reason == "tool_use"
    (called,) = said.content
    assert (called.type, called.name, called.input) == (
        "tool_use",
        "get_weather",
        {"city": "Paris"},
    )
    result = {"type": "tool_result", "tool_use_id": called.id, "content": "18 degrees"}
    messages = [
        *ASK["messages"],
        {"role": "assistant", "content": [called.to_dict()]},
        {"role": "user", "content": [result]},
    ]
    last = client.messages.create(**{**ASK, "messages": messages}, tools=[WEATHER])
    assert last.content[0].text == "Sunny."
    prompt = o200k_harmony().decode(backend.prompts[1])
    assert "<|channel|>analysis<|message|>I must look.<|end|>" in prompt  # though not sent back
    assert "<|start|>functions.get_weather to=assistant<|channel|>commentary" in prompt
    assert "18 degrees" in prompt


def test_thoughts_that_come_back(gpt_oss: Callable[..., Any], open_client: Open) -> None:
    url, backend = gpt_oss([FINAL.format("Sunny.")])
    blocks = [
        {"type": "thinking", "thinking": "They want weather.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
    ]
    results = [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "content": [{"type": "text", "text": "no such city"}],
            "is_error": True,
        },
        {"type": "text", "text": "Try again."},
    ]
    history = [
        *ASK["messages"],
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": results},
    ]
    said = open_client(url).messages.create(**{**ASK, "messages": history}, tools=[WEATHER])
    assert said.content[0].text == "Sunny."
    prompt = o200k_harmony().decode(backend.prompts[0])
    assert "<|channel|>analysis<|message|>They want weather.<|end|>" in prompt
    assert "<|channel|>commentary<|message|>I look.<|end|>" in prompt
    assert "Error: no such city" in prompt
    assert "<|start|>user<|message|>Try again.<|end|>" in prompt


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_a_call_can_be_required(
    gpt_oss: Callable[..., Any], open_client: Open, choice: dict[str, str]
) -> None:
    written = CALL.format("get_weather", '{"city": "Rome"}')
    url, _ = gpt_oss([THINK.format("Hm.") + written])
    said = answer(open_client(url), False, tools=[WEATHER], tool_choice=choice)
    assert [block.type for block in said.content] == ["tool_use"]


def test_a_call_that_was_cut_off(gpt_oss: Callable[..., Any], open_client: Open) -> None:
    written = CALL.format("get_weather", '{"city": "Paris"}')
    url, _ = gpt_oss([written, written])
    client = open_client(url)
    for stream in (False, True):
        said = answer(client, stream, tools=[WEATHER], max_tokens=12)
        assert said.stop_reason == "max_tokens"
        assert stream or said.content[-1].type == "text"  # a call that nobody makes


def test_structured_answers(gpt_oss: Callable[..., Any], open_client: Open) -> None:
    said = {"city": "Paris"}
    url, _ = gpt_oss([THINK.format("Well.") + FINAL.format(json.dumps(said))])
    schema = WEATHER["input_schema"]
    told = {"format": {"type": "json_schema", "schema": schema}}
    found = answer(open_client(url), False, output_config=told)
    assert json.loads(found.content[0].text) == said


def test_a_mistake_in_a_stream_is_an_event(
    url: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(script.llm.engine.backend, "forward", broken)
    ask = ("POST", f"{url}/v1/messages")
    with httpx.stream(*ask, json=scripted("x", stream=True), timeout=60) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-2] == "event: error"
    told = json.loads(lines[-1].removeprefix("data: "))
    assert (told["type"], told["error"]["type"]) == ("error", "overloaded_error")


def test_silence_is_broken_by_pings(
    url: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingle.serve.anthropic.routes.PING_S", 0.01)
    script.gate = threading.Event()
    ask = ("POST", f"{url}/v1/messages")
    with httpx.stream(*ask, json=scripted("x", stream=True), timeout=60) as answer:
        names = []
        for line in answer.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            if names.count("ping") == 3:
                script.gate.set()
    assert names.count("ping") >= 3
    assert names[-1] == "message_stop"


def answer(client: anthropic.Anthropic, stream: bool, **more: Any) -> Any:
    """The message that `ASK` and `more` lead to, streamed or not."""
    if not stream:
        return client.messages.create(**{**ASK, **more})
    with client.messages.stream(**{**ASK, **more}) as events:
        return events.get_final_message()
