"""What a server tells those who run it: health, numbers, its API, its log; and its end."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingle.cli.stop import stop
from ingle.errors import IngleError
from ingle.serve.app import Doors, create_app
from ingle.serve.house import Life
from ingle.serve.rack import Place, Rack
from ingle.serve.reference import reference_page

sys.path.insert(0, str(Path(__file__).parent))
from live import living, post, read_all

Script = Any
CHAT = "/v1/chat/completions"
RAW = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": text}]} | more


def got(ask: Callable[..., Any], *paths: str) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        async with ask() as http:
            for text in ("hello", "hello"):
                (await http.post(CHAT, json=asked(text))).raise_for_status()
            return [await http.get(path) for path in paths]

    return asyncio.run(run())


def test_health_and_readiness(script: Script) -> None:
    life = Life()
    app = create_app(Rack([Place("scripted", lambda: script.llm, script.llm)]), life)

    async def run() -> list[tuple[int, str]]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://t"
        ) as http:
            answers = [await http.get("/health"), await http.get("/ready")]
            script.llm.engine.scheduler.max_waiting = 0
            answers.append(await http.get("/ready"))
            script.llm.engine.scheduler.max_waiting = 9
            life.leaving = True
            answers.append(await http.get("/ready"))
        return [(one.status_code, one.json()["status"]) for one in answers]

    assert asyncio.run(run()) == [(200, "ok"), (200, "ok"), (503, "busy"), (503, "ending")]


def test_numbers_are_prometheus_own_format(ask: Callable[..., Any]) -> None:
    answer, _ = got(ask, "/metrics", "/health")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {f.name: f for f in text_string_to_metric_families(answer.text)}
    values = {(s.name, *s.labels.values()): s.value for f in families.values() for s in f.samples}
    said = len("You said: hello") + 1
    assert values["ingle_answer_tokens_total", "scripted"] == 2 * said
    assert values["ingle_first_token_seconds_count", "scripted"] == 2
    # the stop token is not told to anybody
    assert values["ingle_token_gap_seconds_count", "scripted"] == 2 * (said - 2)
    assert values["ingle_cached_tokens_total", "scripted"] > 0
    assert (
        values["ingle_prompt_tokens_total", "scripted"]
        > values["ingle_cached_tokens_total", "scripted"]
    )
    assert values["ingle_requests_total", CHAT, "200"] == 2
    assert values["ingle_running", "scripted"] == 0
    assert values["ingle_model_loaded", "scripted"] == 1
    ends = {s.labels["end"]: s.value for s in families["ingle_answers"].samples}
    assert ends == {"stop": 2}


def test_the_page_of_the_api_needs_nothing_from_elsewhere(ask: Callable[..., Any]) -> None:
    page, described = got(ask, "/docs", "/openapi.json")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|src=|url\(|https?://", page.text)
    for path in described.json()["paths"]:
        assert f">{path}<" in page.text


def test_a_page_of_hostile_names_is_escaped() -> None:
    operation = {
        "tags": ["<b>"],
        "description": "<script>",
        "parameters": [{"name": "<i>", "schema": {"enum": ["<u>"]}}],
    }
    api = {"info": {"title": "<t>", "version": "1"}, "paths": {"/<p>": {"get": operation}}}
    page = reference_page(api)
    for mark in ("<b>", "<script>", "<i>", "<u>", "<t>", "/<p>"):
        assert mark not in page.replace("<b>GET</b>", "")


def test_each_request_has_a_line_without_its_prompt(
    ask: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ingle.requests"):
        got(ask, "/v1/models", "/health")
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert len(lines) == 3 and "hello" not in caplog.text
    found = dict(part.split("=") for part in lines[1].split()[3:])
    assert lines[1].startswith(f"POST {CHAT} 200 ")
    assert found["model"] == "scripted" and found["end"] == "stop"
    assert int(found["answer"]) == len("You said: hello") + 1
    assert 0 < int(found["cached"]) < int(found["prompt"])
    assert all(float(found[name]) >= 0 for name in ("prompt_s", "decode_s", "first_s", "total_s"))


def test_prompts_are_logged_when_asked_for(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(
        Rack([Place("scripted", lambda: script.llm, script.llm)]), doors=Doors(log_prompts=True)
    )

    async def run() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as http:
            await http.post(CHAT, json=asked("grüße\nhello"))

    with caplog.at_level(logging.INFO, "ingle.requests"):
        asyncio.run(run())
    (line,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("body ")]
    assert json.loads(json.loads(line[5:]))["messages"][0]["content"] == "grüße\nhello"


def test_a_line_cannot_be_forged(ask: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ingle.requests"):
        got(ask, "/x%0A2026-01-01%20POST%20/forged")
    assert all("\n" not in record.getMessage() for record in caplog.records)


def slowed(script: Script, seconds: float) -> None:
    """Each step takes a while, so that an answer is still being made when the end comes."""
    true_forward = script.llm.engine.backend.forward

    def forward(model: Any, batch: Any) -> Any:
        time.sleep(seconds)
        return true_forward(model, batch)

    script.llm.engine.backend.forward = forward


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_not_done_when_the_grace_is_over_is_told_so(script: Script, stream: bool) -> None:
    script.replies["long"] = [65] * 189
    slowed(script, 0.02)
    with living(script.llm, grace_s=0.2) as live, live.connect() as sock:
        sock.sendall(post(CHAT, asked("long", stream=stream, max_tokens=190)))
        while not script.steps:
            time.sleep(0.01)
        httpx.post(f"{live.url}/ingle/stop", json={})
        answer = read_all(sock).decode()
        live.thread.join(60)
    assert "being stopped" in answer
    assert ("HTTP/1.1 200" in answer) is stream and ("HTTP/1.1 503" in answer) is not stream
    assert "[DONE]" not in answer


def test_a_model_is_unloaded_by_a_name_of_its_own(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    with living(script.llm) as live:
        monkeypatch.setenv("INGLE_HOST", f"127.0.0.1:{live.port}")
        with pytest.raises(IngleError, match="one of scripted, but got 'nope'") as told:
            stop("nope")
        assert len(str(told.value).splitlines()) == 1
        assert live.rack.places["scripted"].model is not None
        stop("Scripted")
        assert live.rack.places["scripted"].model is None


def test_what_is_done_within_the_grace_is_whole(script: Script) -> None:
    slowed(script, 0.01)
    with living(script.llm, grace_s=60) as live, live.connect() as sock:
        sock.sendall(post(CHAT, asked("hello", stream=True)))
        while not script.steps:
            time.sleep(0.01)
        httpx.post(f"{live.url}/ingle/stop", json={})
        answer = read_all(sock).decode()
        live.thread.join(60)
    assert "[DONE]" in answer and "error" not in answer


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, asked("hello")),
        ("/v1/completions", {"prompt": RAW}),
        ("/v1/responses", {"input": "hello"}),
        ("/v1/messages", asked("hello", max_tokens=64)),
        ("/api/chat", asked("hello", stream=False)),
        ("/api/generate", {"prompt": "hello", "stream": False}),
    ],
)
def test_priority_and_deadline_come_in_headers(
    ask: Callable[..., Any], script: Script, path: str, body: dict[str, Any]
) -> None:
    async def run(**headers: str) -> httpx.Response:
        async with ask() as http:
            return await http.post(path, json=body | {"model": "scripted"}, headers=headers)

    assert asyncio.run(run(**{"X-Request-Priority": "high"})).status_code == 200
    for name, value in (
        ("X-Request-Priority", "most"),
        ("X-Request-Timeout", "soon"),
        ("X-Request-Timeout", "-1"),
        ("X-Request-Timeout", "nan"),
    ):
        refused = asyncio.run(run(**{name: value}))
        assert refused.status_code == 400 and name in refused.text
    script.gate = threading.Event()
    threading.Timer(0.3, script.gate.set).start()
    late = asyncio.run(run(**{"X-Request-Timeout": "0.05"}))
    assert late.status_code == 504
