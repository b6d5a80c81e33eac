"""Ollama's API by Ollama's own client, over a scripted model and a scripted gpt-oss."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import ollama
import pytest

from ingle.tokenizer import o200k_harmony

Script = Any
Open = Callable[[str], ollama.Client]

CALL = "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>{}<|call|>"
THINK = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>{}<|return|>"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
USER = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture
def open_client() -> Iterator[Callable[[str], ollama.Client]]:
    """A client of the server at a URL, closed with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda url: stack.enter_context(ollama.Client(host=url))


@pytest.fixture
def client(url: str, open_client: Open) -> ollama.Client:
    return open_client(url)


def test_a_chat(client: ollama.Client) -> None:
    said = client.chat("scripted", messages=[{"role": "user", "content": "hello"}])
    assert said.message.content == "You said: hello"
    assert (said.model, said.done, said.done_reason) == ("scripted", True, "stop")
    assert said.eval_count == len("You said: hello") + 1
    assert said.prompt_eval_count and said.prompt_eval_count > len("hello")
    times = (said.total_duration, said.load_duration, said.prompt_eval_duration, said.eval_duration)
    assert all(isinstance(ns, int) and ns > 0 for ns in times)
    assert said.total_duration >= said.eval_duration


def test_a_chat_in_pieces(client: ollama.Client) -> None:
    pieces = list(
        client.chat("scripted", messages=[{"role": "user", "content": "grüße 👋"}], stream=True)
    )
    assert "".join(piece.message.content for piece in pieces) == "You said: grüße 👋"
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].eval_count and pieces[0].eval_count is None


def test_a_prompt_and_what_follows_it(client: ollama.Client) -> None:
    first = client.generate("scripted", "one")
    assert (first.response, first.done_reason) == ("You said: one", "stop")
    assert first.context
    alone = client.generate("scripted", "two")
    then = client.generate("scripted", "two", context=first.context)
    assert then.response == alone.response == "You said: two"
    assert then.prompt_eval_count > alone.prompt_eval_count + len("You said: one")
    streamed = list(client.generate("scripted", "two", context=first.context, stream=True))
    assert "".join(piece.response for piece in streamed) == "You said: two"
    assert streamed[-1].context == then.context


def test_a_raw_prompt(client: ollama.Client) -> None:
    prompt = "<|im_start|>user\nraw<|im_end|>\n<|im_start|>assistant\n"
    said = client.generate("scripted", prompt, raw=True)
    assert said.response == "You said: raw"
    assert said.context is None
    with pytest.raises(ollama.ResponseError, match="raw prompt is all there is"):
        client.generate("scripted", prompt, raw=True, system="no")


def test_a_system_text_and_a_template(client: ollama.Client) -> None:
    told = client.generate("scripted", "x", system="Be kind.")
    untold = client.generate("scripted", "x")
    assert told.prompt_eval_count > untold.prompt_eval_count
    template = "<|im_start|>user\n{{ messages[-1].content }}!<|im_end|>\n<|im_start|>assistant\n\n"
    assert client.generate("scripted", "x", template=template).response == "You said: x!"
    with pytest.raises(ollama.ResponseError, match="must be Jinja"):
        client.generate("scripted", "x", template="{{ .Prompt }}")


def test_options(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "x"}]
    cut = client.chat("scripted", messages=messages, options={"num_predict": 3})
    assert (cut.message.content, cut.done_reason, cut.eval_count) == ("You", "length", 3)
    options = {"num_predict": -1, "seed": -1, "num_gpu": 99, "num_batch": 512, "never_heard": 1}
    options |= {"temperature": 0, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0}
    options |= {"repeat_last_n": 64}
    assert client.chat("scripted", messages=messages, options={"top_k": -1}).done_reason == "stop"
    options |= {"presence_penalty": 0.0, "frequency_penalty": 0.0, "num_ctx": 256}
    assert client.chat("scripted", messages=messages, options=options).done_reason == "stop"
    stopped = client.chat("scripted", messages=messages, options={"stop": ["said"]})
    assert (stopped.message.content, stopped.done_reason) == ("You ", "stop")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"options": {"num_ctx": 1 << 20}}, "options.num_ctx"),
        ({"options": {"temperature": "hot"}}, "options.temperature]"),
        ({"options": {"temperature": -1}}, "options.temperature]"),
        ({"options": {"top_p": 2}}, "options.top_p] options.top_p must"),
        ({"options": {"repeat_penalty": 0}}, "options.repeat_penalty]"),
        ({"options": {"stop": 5}}, "options.stop]"),
        ({"options": {"seed": 1 << 64}}, "options.seed]"),
        ({"options": {"top_k": 1.5}}, "options.top_k"),
        ({"options": {"mirostat": 2}}, "options.mirostat"),
        ({"options": {"tfs_z": 0.5}}, "options.tfs_z"),
        ({"options": {"repeat_last_n": 0}}, "options.repeat_last_n]"),
        ({"options": {"repeat_last_n": 128}}, "options.repeat_last_n]"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"keep_alive": []}, "keep_alive]"),
        ({"think": "hard"}, "think]"),
        ({"think": 5}, "think]"),
        ({"think": True}, "think]"),
        ({"format": "xml"}, "format"),
        ({"format": {"type": "object", "properties": 5}}, "format"),
        ({"tools": [{"type": "function"}]}, "tool"),
        ({"logprobs": True, "top_logprobs": 99}, "top_logprobs"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]},
            "messages[0].images",
        ),
        ({"messages": [{"role": "user", "content": "x" * 1000}]}, "prompt"),
    ],
)
def test_what_is_wrong_is_named(url: str, wrong: dict[str, Any], field: str) -> None:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "x"}], **wrong}
    answer = httpx.post(f"{url}/api/chat", json=body, timeout=60)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"].startswith(f"[{field}"), answer.text


@pytest.mark.parametrize(
    "wrong", [{"suffix": "end"}, {"images": ["aGk="]}, {"context": [1, 2, 3]}, {"context": [-1]}]
)
def test_what_a_prompt_cannot_have(url: str, wrong: dict[str, Any]) -> None:
    body = {"model": "scripted", "prompt": "x", **wrong}
    answer = httpx.post(f"{url}/api/generate", json=body, timeout=60)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"].startswith(f"[{next(iter(wrong))}]")


def test_loading_and_letting_go(client: ollama.Client, script: Script) -> None:
    assert client.generate("scripted").done_reason == "load"
    assert client.chat("scripted", keep_alive="5m").done_reason == "load"
    assert client.chat("scripted", keep_alive=0).done_reason == "unload"
    assert client.ps().models == []
    assert client.generate("scripted", keep_alive=0).done_reason == "unload"


def test_what_clients_probe_for(url: str) -> None:
    assert httpx.head(url, timeout=60).status_code == 200
    assert httpx.get(url, timeout=60).text == "Ollama is running"
    found = httpx.get(f"{url}/api/version", timeout=60).json()
    assert tuple(map(int, found["version"].split("."))) >= (0, 13, 4)
    for path in ("embed", "embeddings", "push"):
        answer = httpx.post(f"{url}/api/{path}", json={"input": "x"}, timeout=60)
        assert answer.status_code == 400 and answer.json()["error"]


def test_a_client_that_goes_away_ends_its_answer(client: ollama.Client, script: Script) -> None:
    script.replies["long"] = [65] * 200
    script.gate = threading.Event()
    messages = [{"role": "user", "content": "long"}]
    pieces = client.chat("scripted", messages=messages, stream=True, options={"num_predict": 190})
    before = script.steps
    reader = threading.Thread(target=lambda: next(iter(pieces)))
    reader.start()
    while script.steps < before + 1:
        pass
    script.gate.set()
    reader.join()
    pieces.close()  # type: ignore[attr-defined]
    scheduler = script.llm.engine.scheduler
    waited = threading.Event()
    for _ in range(600):
        if not scheduler.running and not len(scheduler.line):
            break
        waited.wait(0.1)
    assert not scheduler.running
    assert script.steps < 150  # it was not computed to its end


def test_thinking(gpt_oss: Callable[..., Any], open_client: Open) -> None:
    said = [THINK.format("Simple.") + FINAL.format("4"), FINAL.format("5")]
    url, backend = gpt_oss([*said, THINK.format("Hm.") + FINAL.format("6")])
    client = open_client(url)
    messages = [{"role": "user", "content": "2 + 2?"}]
    pieces = list(client.chat("gpt-oss:20b", messages=messages, think="high", stream=True))
    assert "".join(piece.message.thinking or "" for piece in pieces) == "Simple."
    assert "".join(piece.message.content for piece in pieces) == "4"
    assert "Reasoning: high" in o200k_harmony().decode(backend.prompts[0])
    again = client.chat("gpt-oss:20b", messages=messages, think="low")
    assert (again.message.content, again.message.thinking) == ("5", None)
    assert "Reasoning: low" in o200k_harmony().decode(backend.prompts[1])
    asked = client.generate("gpt-oss:20b", "3 + 3?", think=True)
    assert (asked.response, asked.thinking) == ("6", "Hm.")


@pytest.mark.parametrize("stream", [False, True])
def test_tools(gpt_oss: Callable[..., Any], open_client: Open, stream: bool) -> None:
    call = THINK.format("I must look.") + CALL.format("get_weather", '{"city": "Paris"}')
    url, backend = gpt_oss([call, FINAL.format("Sunny.")])
    client = open_client(url)
    said = client.chat("gpt-oss:20b", messages=USER, tools=[WEATHER], stream=stream)
    messages = [piece.message for piece in said] if stream else [said.message]
    (called,) = [one for message in messages for one in message.tool_calls or ()]
    assert (called.function.name, called.function.arguments) == ("get_weather", {"city": "Paris"})
    history = [
        *USER,
        {"role": "assistant", "content": "", "tool_calls": [called.model_dump()]},
        {"role": "tool", "content": "18 degrees, sunny", "tool_name": "get_weather"},
    ]
    last = client.chat("gpt-oss:20b", messages=history, tools=[WEATHER])
    assert last.message.content == "Sunny."
    prompt = o200k_harmony().decode(backend.prompts[1])
    assert "to=assistant<|channel|>commentary<|message|>18 degrees, sunny" in prompt
    assert "<|start|>functions.get_weather" in prompt


def test_a_call_that_was_cut_off_is_text(gpt_oss: Callable[..., Any], open_client: Open) -> None:
    url, _ = gpt_oss([CALL.format("get_weather", '{"city": "Paris"}')] * 4)
    client = open_client(url)
    for num_predict in (12, 15):  # before its arguments, and within them
        ask: Any = {"tools": [WEATHER], "options": {"num_predict": num_predict}}
        said = client.chat("gpt-oss:20b", messages=USER, **ask)
        assert said.done_reason == "length"
        assert not said.message.tool_calls
        assert said.message.content.startswith("get_weather")
        *_, text, last = client.chat("gpt-oss:20b", messages=USER, stream=True, **ask)
        assert (text.message.content, last.done_reason) == (said.message.content, "length")
        assert not text.message.tool_calls
    assert said.message.content.startswith('get_weather {"')


def test_structured_answers(gpt_oss: Callable[..., Any], open_client: Open) -> None:
    answer = {"city": "Paris", "degrees": 18}
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
        "required": ["city", "degrees"],
    }
    said = json.dumps(answer)
    url, backend = gpt_oss([THINK.format("Well.") + FINAL.format(said), FINAL.format(said)])
    client = open_client(url)
    told = client.chat("gpt-oss:20b", messages=USER, format=schema)
    assert json.loads(told.message.content) == answer
    assert told.message.thinking == "Well."
    assert "# Response Formats" in o200k_harmony().decode(backend.prompts[0])
    assert json.loads(client.generate("gpt-oss:20b", "x", format="json").response) == answer


def test_logprobs(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "x"}]
    said = client.chat("scripted", messages=messages, logprobs=True, top_logprobs=2)
    assert "".join(one.token for one in said.logprobs) == "You said: x"
    assert all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in said.logprobs)
    for piece in client.chat("scripted", messages=messages, logprobs=True, stream=True):
        told = "".join(one.token for one in piece.logprobs or ())
        assert told == piece.message.content


def test_models_that_are_served(client: ollama.Client) -> None:
    assert [model.model for model in client.list().models] == ["scripted"]
    (running,) = client.ps().models
    assert (running.model, running.context_length) == ("scripted", 256)
    assert running.expires_at is not None
    with pytest.raises(ollama.ResponseError) as told:
        client.show("someone/nothing-here")
    assert told.value.status_code == 404
