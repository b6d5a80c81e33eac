"""gpt-oss through OpenAI's own client: true Harmony streams by script, in Chat and in Responses."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn
from pydantic import BaseModel

from ingle.serve.app import create_app
from ingle.serve.rack import Place, Rack

sys.path.insert(0, str(Path(__file__).parent))
from harmony_script import ServedHarmony

THOUGHT = "<|channel|>analysis<|message|>Let me look.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>"
CALL = (
    f"{THOUGHT}<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
    '{"city": "Rome"}<|call|>'
)
SEEN = (  # how the same stands in a prompt
    f"<|start|>assistant{THOUGHT} to=functions.weather<|channel|>commentary <|constrain|>json"
    '<|message|>{"city": "Rome"}<|call|>'
)
REPLIES = {
    "hi": f"{THOUGHT}{FINAL}Hello there.",
    "weather?": CALL,
    "21 degrees": f"{FINAL}It is warm.",
    "json?": f'{THOUGHT}{FINAL}{{"name": "Ada", "age": 36}}',
    "long": f"{THOUGHT}{FINAL}{'word ' * 400}",
    "again?": f"{FINAL}Again.",
    "required": CALL.replace(THOUGHT, ""),
    "named": CALL.replace(THOUGHT, ""),
    "patch": (
        "<|channel|>commentary to=functions.edit <|constrain|>json<|message|>"
        '{"input": "a\\nb"}<|call|>'
    ),
}
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
CHAT_TOOLS: Any = [{"type": "function", "function": WEATHER}]
TOOLS: Any = [{"type": "function", "strict": True, **WEATHER}]


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture(scope="module")
def model() -> ServedHarmony:
    return ServedHarmony(REPLIES)


@pytest.fixture(scope="module")
def url(model: ServedHarmony) -> Iterator[str]:
    app = create_app(Rack([Place("gpt-oss:20b", lambda: model, model)]))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    server.should_exit = True
    thread.join()
    listening.close()
    model.close()


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def chat(client: openai.OpenAI) -> Callable[..., Any]:
    def ask(text: str, **more: Any) -> Any:
        messages = [*more.pop("before", []), {"role": "user", "content": text}]
        asked = {"model": "gpt-oss:20b", "messages": messages, "temperature": 0, **more}
        return client.chat.completions.create(**asked)

    return ask


@pytest.fixture
def respond(client: openai.OpenAI) -> Callable[..., Any]:
    def ask(said: Any, **more: Any) -> Any:
        return client.responses.create(model="gpt-oss:20b", input=said, temperature=0, **more)

    return ask


def test_reasoning_and_answer_are_told_apart(chat: Callable[..., Any]) -> None:
    said = chat("hi")
    message = said.choices[0].message
    assert (message.content, message.reasoning_content) == ("Hello there.", "Let me look.")
    assert said.usage.completion_tokens_details.reasoning_tokens == 4
    chunks = list(chat("hi", stream=True))
    thought = "".join(getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks)
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert (text, thought) == ("Hello there.", "Let me look.")
    hidden = chat("hi", extra_body={"include_reasoning": False}).choices[0].message
    assert not hasattr(hidden, "reasoning_content")


@pytest.mark.parametrize(
    ("spelling", "level"),
    [
        ({"reasoning_effort": "high"}, "high"),
        ({"reasoning": {"effort": "low"}}, "low"),
        ({"chat_template_kwargs": {"reasoning_effort": "high"}}, "high"),
        ({"reasoning_effort": "minimal", "think": "low"}, "low"),
        ({"think": True}, "medium"),
        ({"thinking": {"type": "enabled"}}, "medium"),
    ],
)
def test_every_spelling_of_an_effort_reaches_the_prompt(
    chat: Callable[..., Any], model: ServedHarmony, spelling: dict[str, Any], level: str
) -> None:
    chat("hi", extra_body={**spelling, "seed": 1})
    rendered = model.prompt_ids([{"role": "user", "content": "hi"}], {"reasoning": level})
    assert model.tokenizer.decode(rendered) in model.script.prompts


def test_spellings_that_differ_are_refused(chat: Callable[..., Any]) -> None:
    with pytest.raises(openai.BadRequestError, match="must say what reasoning_effort says"):
        chat("hi", reasoning_effort="low", extra_body={"think": "high"})
    with pytest.raises(openai.BadRequestError) as told:
        chat("hi", extra_body={"reasoning": {"effort": "immense"}})
    assert told.value.param == "reasoning_effort"


def test_a_call_and_its_result(chat: Callable[..., Any], model: ServedHarmony) -> None:
    said = chat("weather?", tools=CHAT_TOOLS)
    (call,) = said.choices[0].message.tool_calls
    assert said.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather", {"city": "Rome"},
    )  # fmt: skip
    before: list[Any] = [{"role": "user", "content": "weather?"}]
    before.append({"role": "assistant", "content": None, "tool_calls": [call.model_dump()]})
    result = {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}
    asked = {"model": "gpt-oss:20b", "messages": [*before, result], "tools": CHAT_TOOLS}
    final = chat("unused", **asked)
    assert final.choices[0].message.content == "It is warm."
    assert SEEN in model.script.prompts[-1]  # the client dropped the reasoning; the model sees it
    assert final.usage.prompt_tokens_details.cached_tokens >= said.usage.prompt_tokens


def test_a_streamed_call(chat: Callable[..., Any]) -> None:
    chunks = list(chat("weather?", tools=CHAT_TOOLS, stream=True))
    calls = [c.choices[0].delta.tool_calls[0] for c in chunks if c.choices[0].delta.tool_calls]
    assert (calls[0].function.name, calls[0].function.arguments) == ("weather", "")
    assert calls[0].id and all(call.id is None for call in calls[1:])
    assert len(calls) > 3  # as it was written
    assert "".join(call.function.arguments for call in calls) == '{"city": "Rome"}'
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("required", "required"),
        ("named", {"type": "function", "function": {"name": "weather"}}),
        (
            "required",
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": CHAT_TOOLS},
            },
        ),
    ],
)
def test_a_call_that_must_be_made(chat: Callable[..., Any], text: str, choice: Any) -> None:
    (call,) = chat(text, tools=CHAT_TOOLS, tool_choice=choice).choices[0].message.tool_calls
    assert call.function.name == "weather"


def test_no_call_may_be_made(chat: Callable[..., Any]) -> None:
    message = chat("hi", tools=CHAT_TOOLS, tool_choice="none").choices[0].message
    assert message.content == "Hello there." and not message.tool_calls


def test_a_schema_by_the_clients_own_parser(client: openai.OpenAI) -> None:
    said = client.chat.completions.parse(
        model="gpt-oss:20b",
        messages=[{"role": "user", "content": "json?"}],
        response_format=Person,
    )
    assert said.choices[0].message.parsed == Person(name="Ada", age=36)
    answer = client.responses.parse(model="gpt-oss:20b", input="json?", text_format=Person)
    assert answer.output_parsed == Person(name="Ada", age=36)


def test_log_probabilities_are_the_answers(chat: Callable[..., Any]) -> None:
    whole = chat("hi", logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert "".join(one.token for one in whole) == "Hello there."
    assert b"".join(bytes(one.bytes) for one in whole) == b"Hello there."
    streamed = []
    for chunk in chat("hi", logprobs=True, top_logprobs=2, stream=True):
        choice = chunk.choices[0]
        found = choice.logprobs.content if choice.logprobs else []
        assert "".join(one.token for one in found) == (choice.delta.content or "")
        streamed += found
    assert streamed == whole


def test_fields_that_are_refused_are_named(chat: Callable[..., Any]) -> None:
    for name, value in (
        ("functions", [{"name": "f"}]),
        ("top_logprobs", 3),
        ("response_format", {"type": "json_schema"}),
        ("tool_choice", "required"),
    ):
        with pytest.raises(openai.BadRequestError) as told:
            chat("hi", extra_body={name: value})
        assert told.value.param == name


def test_what_the_models_name_brings_as_system(
    chat: Callable[..., Any],
    respond: Callable[..., Any],
    model: ServedHarmony,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model, "system", "Speak as a pirate.")
    own = [{"role": "system", "content": "Be brief."}]
    for ask in (chat, respond):
        ask("hi")
        assert "Speak as a pirate." in model.script.prompts[-1]
    chat("hi", before=own)
    assert "Speak as a pirate." not in model.script.prompts[-1]
    respond("hi", instructions="Be brief.")
    assert "Speak as a pirate." not in model.script.prompts[-1]


def test_a_response(respond: Callable[..., Any]) -> None:
    said = respond("hi")
    assert said.status == "completed" and said.output_text == "Hello there."
    assert [item.type for item in said.output] == ["reasoning", "message"]
    assert said.output[0].content[0].text == "Let me look."
    assert said.usage.output_tokens_details.reasoning_tokens == 4
    summed = respond("hi", reasoning={"effort": "medium", "summary": "auto"}).output[0]
    assert summed.summary[0].text == "Let me look." and not summed.content


EVENTS = [
    "created", "in_progress",
    "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done",
    "content_part.done", "output_item.done",
    "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
    "content_part.done", "output_item.done",
    "completed",
]  # fmt: skip


def test_the_events_of_a_response(respond: Callable[..., Any]) -> None:
    events = list(respond("hi", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    names = [event.type.removeprefix("response.") for event in events]
    assert [n for i, n in enumerate(names) if names[i - 1 : i] != [n]] == EVENTS
    deltas = [e for e in events if e.type == "response.output_text.delta"]
    assert "".join(e.delta for e in deltas) == "Hello there."
    last = events[-1].response
    assert last.output_text == "Hello there." and last.usage.total_tokens > 0
    done = [e.item for e in events if e.type == "response.output_item.done"]
    assert [item.model_dump() for item in done] == [item.model_dump() for item in last.output]


def test_a_response_cut_off_is_incomplete(respond: Callable[..., Any]) -> None:
    said = respond("long", max_output_tokens=20)
    assert said.status == "incomplete"
    assert said.incomplete_details.reason == "max_output_tokens"
    assert said.output[-1].status == "incomplete"
    assert next(reversed(list(respond("long", max_output_tokens=20, stream=True)))).type == (
        "response.incomplete"
    )


def test_a_conversation_is_kept(
    respond: Callable[..., Any], client: openai.OpenAI, model: ServedHarmony
) -> None:
    first = respond("hi", instructions="Be brief.", metadata={"a": "b"})
    second = respond("again?", previous_response_id=first.id)
    assert second.output_text == "Again."
    assert "Hello there." in model.script.prompts[-1]
    assert "Be brief." not in model.script.prompts[-1]  # instructions are of one response
    found = client.responses.retrieve(first.id)
    assert found.output_text == "Hello there." and found.metadata == {"a": "b"}
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.retrieve(first.id, extra_query={"stream": "true"})
    assert refused.value.param == "stream"
    (item,) = client.responses.input_items.list(first.id)
    assert item.content[0].text == "hi"  # type: ignore[union-attr]
    client.responses.delete(first.id)
    for call in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            call(first.id)
    third = respond("again?", previous_response_id=second.id)  # what came before stays
    assert third.output_text == "Again." and "Hello there." in model.script.prompts[-1]
    with pytest.raises(openai.BadRequestError) as told:
        respond("again?", previous_response_id=first.id)
    assert told.value.param == "previous_response_id"
    unkept = respond("hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_a_streamed_function_call_and_its_output(
    respond: Callable[..., Any], model: ServedHarmony
) -> None:
    events = list(respond("weather?", tools=TOOLS, stream=True))
    added = [e.item for e in events if e.type == "response.output_item.added"]
    assert [item.type for item in added] == ["reasoning", "function_call"]
    assert added[1].name == "weather" and added[1].arguments == ""
    pieces = [e for e in events if e.type == "response.function_call_arguments.delta"]
    assert len(pieces) > 2 and "".join(e.delta for e in pieces) == '{"city": "Rome"}'
    (done,) = (e for e in events if e.type == "response.function_call_arguments.done")
    assert done.arguments == '{"city": "Rome"}' and done.item_id == added[1].id
    last = events[-1].response
    call = last.output[-1]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
    kept = respond([output], tools=TOOLS, previous_response_id=last.id)
    assert kept.output_text == "It is warm." and SEEN in model.script.prompts[-1]
    # The same by a client that keeps the state: with the items, and with the call alone.
    for items in (last.output, last.output[1:]):
        said = [item.model_dump(exclude_none=True) for item in items]
        again = respond([{"role": "user", "content": "weather?"}, *said, output], tools=TOOLS)
        assert again.output_text == "It is warm." and SEEN in model.script.prompts[-1]


def test_reasoning_that_a_client_carries_along(
    respond: Callable[..., Any], model: ServedHarmony
) -> None:
    said = respond("weather?", tools=TOOLS, include=["reasoning.encrypted_content"], store=False)
    thought, call = (item.model_dump(exclude_none=True) for item in said.output)
    thought = {**thought, "content": None, "encrypted_content": thought["encrypted_content"]}
    renamed = {**call, "call_id": "call_of_another_server"}  # so nothing can be recalled
    output = {"type": "function_call_output", "call_id": renamed["call_id"], "output": "21 degrees"}
    user = {"role": "user", "content": "weather?"}
    assert respond([user, thought, renamed, output], tools=TOOLS).output_text == "It is warm."
    assert "Let me look." in model.script.prompts[-1]


def test_a_custom_tool_takes_text(respond: Callable[..., Any]) -> None:
    tools: Any = [{"type": "custom", "name": "edit", "description": "Edits."}]
    said = respond("patch", tools=tools)
    (call,) = said.output
    assert (call.type, call.name, call.input) == ("custom_tool_call", "edit", "a\nb")
    events = list(respond("patch", tools=tools, stream=True))
    (done,) = (e for e in events if e.type == "response.custom_tool_call_input.done")
    assert done.input == "a\nb"


def test_the_tokens_of_a_request_are_counted(url: str, respond: Callable[..., Any]) -> None:
    import httpx

    asked = {"model": "gpt-oss:20b", "input": "hi", "instructions": "Be brief."}
    counted = httpx.post(f"{url}/responses/input_tokens", json=asked).json()
    assert counted["input_tokens"] == respond("hi", instructions="Be brief.").usage.input_tokens


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"input": 5}, "input"),
    ({"input": []}, "input"),
    ({"input": None}, "input"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input.0"),
    ({"input": [{"type": "computer_call"}]}, "input.0.type"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content"),
    ({"input": "x", "tools": [{"type": "robot"}]}, "tools.0.type"),
    ({"input": "x", "tool_choice": {"type": "web_search"}}, "tool_choice"),
    ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format"),
    ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
    ({"input": "x", "background": True}, "background"),
    ({"input": "x", "truncation": "most"}, "truncation"),
    ({"input": "x", "reasoning": {"effort": "immense"}}, "reasoning.effort"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG)
def test_what_is_wrong_with_a_response_is_named(
    client: openai.OpenAI, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        client.post("/responses", body={"model": "gpt-oss:20b", **wrong}, cast_to=dict[str, Any])
    assert (told.value.param or "").startswith(field)


def test_a_client_that_leaves_a_response_ends_it(
    client: openai.OpenAI, model: ServedHarmony
) -> None:
    model.script.gate = threading.Event()
    before = model.script.steps
    stream = client.responses.create(model="gpt-oss:20b", input="long", stream=True)
    assert next(iter(stream)).type == "response.created"
    stream.close()
    model.script.gate.set()
    pause, scheduler = threading.Event(), model.engine.scheduler
    for _ in range(600):
        if not scheduler.running and not len(scheduler.line):
            break
        pause.wait(0.1)
    model.script.gate = None
    assert not scheduler.running
    assert model.script.steps - before < 300  # it was not computed to its end
