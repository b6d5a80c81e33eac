"""OpenAI's chat API over a scripted model, by OpenAI's own client and by bare HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
import uvicorn

Script = Any


def user(text: str) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": text}]}


@pytest.fixture
def url(app: Any) -> Iterator[str]:
    """The application behind a true socket."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_an_answer(client: openai.OpenAI) -> None:
    said = client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "hello"}], temperature=0
    )
    assert said.choices[0].message.content == "You said: hello"
    assert said.choices[0].finish_reason == "stop"
    assert said.usage is not None
    assert said.usage.completion_tokens == len("You said: hello") + 1
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens


def test_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="scripted",
        messages=[{"role": "user", "content": "grüße 👋"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "You said: grüße 👋"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks[:-1] if c.choices[0].finish_reason] == [
        "stop"
    ]
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert len({c.id for c in chunks}) == 1


def test_the_next_turn_is_cached(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "one" * 20}]
    first = client.chat.completions.create(model="scripted", messages=messages)
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "two"},
    ]
    second = client.chat.completions.create(model="scripted", messages=messages)
    assert second.usage is not None and second.usage.prompt_tokens_details is not None
    assert first.usage is not None
    kept = second.usage.prompt_tokens_details.cached_tokens
    assert kept is not None and kept >= first.usage.total_tokens - 1
    assert second.choices[0].message.content == "You said: two"


def test_many_choices(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "scripted", "messages": user("hi")["messages"], "n": 3}
    said = client.chat.completions.create(**asked)
    assert [c.message.content for c in said.choices] == ["You said: hi"] * 3
    texts = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == ["You said: hi"] * 3


def test_log_probabilities_and_length(client: openai.OpenAI) -> None:
    said = client.chat.completions.create(
        model="scripted",
        messages=[{"role": "user", "content": "x"}],
        logprobs=True,
        top_logprobs=2,
        max_completion_tokens=3,
    )
    (choice,) = said.choices
    assert (choice.message.content, choice.finish_reason) == ("You", "length")
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert [one.token for one in choice.logprobs.content] == ["Y", "o", "u"]
    assert all(len(one.top_logprobs) == 2 for one in choice.logprobs.content)


def test_a_stop_string(client: openai.OpenAI) -> None:
    said = client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "x"}], stop=["said"]
    )
    assert (said.choices[0].message.content, said.choices[0].finish_reason) == ("You ", "stop")


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["scripted"]
    assert client.models.retrieve("scripted").owned_by == "ingle"


def test_mistakes_are_openais_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "x"}], temperature=-1
        )
    assert told.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "x" * 1000}]
        )
    assert told.value.code == "context_length_exceeded"


def test_a_client_that_goes_away_ends_its_answer(url: str, script: Script) -> None:
    script.replies["long"] = [65] * 200
    for wanted in (True, False):
        script.gate = threading.Event()
        body = json.dumps(user("long") | {"stream": wanted, "max_tokens": 190}).encode()
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as sock:
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
            sock.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            before = script.steps
            while script.steps == before:
                pass
        script.gate.set()
        scheduler = script.llm.engine.scheduler
        deadline = threading.Event()
        for _ in range(600):
            if not scheduler.running and not len(scheduler.line):
                break
            deadline.wait(0.1)
        assert not scheduler.running
        assert script.steps < 150  # it was not computed to its end
        script.steps = 0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"messages": "x"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [5]}, "messages.0"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": None}, "messages"),
    ({"stream": "yes"}, "stream"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 2}, "top_p"),
    ({"stop": 5}, "stop"),
    ({"stop": ["a", 5]}, "stop.1"),
    ({"metadata": {"str": 1}, "logit_bias": {"float": "x"}}, "logit_bias.float"),
    ({"repeat_penalty": 0}, "repeat_penalty"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"stop_token_ids": ["a"]}, "stop_token_ids.0"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"logit_bias": {"a": 1}}, "logit_bias"),
    ({"logit_bias": {"5": 1000}}, "logit_bias"),
    ({"seed": -2}, "seed"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG)
def test_what_is_wrong_is_named(ask: Callable[..., Any], wrong: dict[str, Any], field: str) -> None:
    async def run() -> None:
        async with ask() as http:
            answer = await http.post("/v1/chat/completions", json=user("x") | wrong)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == field

    asyncio.run(run())


NEUTRAL: list[dict[str, Any]] = [
    {"seed": -1},
    {"top_p": 0},
    {"top_k": -1},
    {"max_tokens": -1},
]


@pytest.mark.parametrize("neutral", NEUTRAL)
def test_words_of_other_clients_are_understood(
    ask: Callable[..., Any], neutral: dict[str, Any]
) -> None:
    async def run() -> None:
        async with ask() as http:
            answer = await http.post("/v1/chat/completions", json=user("x") | neutral)
        assert answer.json()["choices"][0]["message"]["content"] == "You said: x"

    asyncio.run(run())


def test_tools_that_may_not_be_called_need_no_model_that_can(ask: Callable[..., Any]) -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]

    async def run() -> list[httpx.Response]:
        async with ask() as http:
            asked = user("x") | {"tools": tools}
            path = "/v1/chat/completions"
            return [
                await http.post(path, json=asked | {"tool_choice": "none"}),
                await http.post(path, json=asked),
            ]

    without, wanted = asyncio.run(run())
    assert without.json()["choices"][0]["message"]["content"] == "You said: x"
    assert (wanted.status_code, wanted.json()["error"]["param"]) == (400, "tools")


def test_what_is_unknown_is_tolerated(ask: Callable[..., Any]) -> None:
    async def run() -> None:
        async with ask() as http:
            extra = {"service_tier": "auto", "store": False, "metadata": {"a": "b"}}
            answer = await http.post("/v1/chat/completions", json=user("x") | extra)
        assert answer.json()["choices"][0]["message"]["content"] == "You said: x"

    asyncio.run(run())


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"messages":' + b"[" * 20_000, b"\xff\xfe", b'{"messages": NaN}']
)
def test_bodies_that_are_no_request(ask: Callable[..., Any], body: bytes) -> None:
    async def run() -> None:
        async with ask() as http:
            headers = {"Content-Type": "application/json"}
            answer = await http.post("/v1/chat/completions", content=body, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]

    asyncio.run(run())


def test_a_body_that_is_too_large(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingle.serve.body.MAX_BYTES", 100)

    async def run() -> list[int]:
        async def pieces() -> Any:
            yield b"x" * 1000

        async with ask() as http:
            path, kind = "/v1/chat/completions", {"Content-Type": "application/json"}
            known = await http.post(path, content=b"x" * 1000, headers=kind)
            unknown = await http.post(path, content=pieces(), headers=kind)
        return [known.status_code, unknown.status_code]

    assert asyncio.run(run()) == [413, 413]


def test_too_many_are_told_to_come_again(ask: Callable[..., Any], script: Script) -> None:
    script.llm.engine.scheduler.max_waiting = 1
    script.gate = threading.Event()

    async def run() -> list[httpx.Response]:
        async with ask() as http:
            asked = [
                asyncio.create_task(http.post("/v1/chat/completions", json=user("hello")))
                for _ in range(8)
            ]
            done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            script.gate.set()
            await asyncio.gather(*waiting)
        return [one.result() for one in (*done, *waiting)]

    answers = asyncio.run(run())
    refused = [one for one in answers if one.status_code == 503]
    assert refused and all(int(one.headers["Retry-After"]) >= 1 for one in refused)
    assert all(one.status_code == 200 for one in answers if one not in refused)


def test_many_at_once_share_steps(ask: Callable[..., Any], script: Script) -> None:
    async def run() -> list[str]:
        async with ask() as http:
            asked = (http.post("/v1/chat/completions", json=user(f"n{i}")) for i in range(12))
            answers = await asyncio.gather(*asked)
        return [one.json()["choices"][0]["message"]["content"] for one in answers]

    assert asyncio.run(run()) == [f"You said: n{i}" for i in range(12)]
    assert max(script.batches) > 1


def test_the_house_tells_what_runs(ask: Callable[..., Any], script: Script) -> None:
    async def run() -> None:
        async with ask() as http:
            assert (await http.get("/health")).json()["status"] == "ok"
            (model,) = (await http.get("/ingle/status")).json()["models"]
            assert (model["name"], model["loaded"], model["running"]) == ("scripted", True, 0)
            gone = await http.post("/ingle/stop", json={"model": "scripted"})
            assert gone.json() == {"stopped": "scripted"}
            again = await http.post("/ingle/stop", json={"model": "scripted"})
            assert again.status_code == 400
            assert (await http.get("/nothing")).json()["error"]["message"] == "Not Found"

    asyncio.run(run())
