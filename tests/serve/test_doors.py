"""Who is let in: keys, pages of other origins, names of the server, sizes and times of bodies."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingle.errors import IngleError
from ingle.serve import body
from ingle.serve.app import Doors, create_app
from ingle.serve.keys import Keys, check_key, is_loopback, read_keys
from ingle.serve.launch import Address
from ingle.serve.origin import Neighbours
from ingle.serve.rack import Place, Rack

Script = Any
HELLO = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}


def http(script: Script, doors: Doors, client: str = "127.0.0.1") -> httpx.AsyncClient:
    app = create_app(Rack([Place("scripted", lambda: script.llm, script.llm)]), doors=doors)
    transport = httpx.ASGITransport(app, client=(client, 5))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)


def statuses(script: Script, doors: Doors, *asked: dict[str, Any], **kind: Any) -> list[int]:
    async def run() -> list[int]:
        async with http(script, doors, **kind) as made:
            usual = {"method": "GET", "url": "/v1/models"}
            return [(await made.request(**(usual | one))).status_code for one in asked]

    return asyncio.run(run())


def test_a_key_opens_in_every_usual_header(script: Script) -> None:
    doors = Doors(Keys(["sesame", "other"]))
    asked: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer sesame"},
        {"authorization": "bearer other"},
        {"x-api-key": "sesame"},
        {"api-key": "other"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "sesame"},
        {"x-api-key": "sesam"},
        {"x-api-key": ""},
    ]
    got = statuses(script, doors, *({"headers": headers} for headers in asked))
    assert got == [401, 200, 200, 200, 200, 401, 401, 401, 401]


def test_what_needs_no_key(script: Script) -> None:
    paths = ("/health", "/ready", "/docs", "/openapi.json", "/metrics", "/ingle/status")
    asked = [{"url": path} for path in paths]
    assert statuses(script, Doors(Keys(["k"])), *asked) == [200, 200, 200, 200, 401, 401]


def test_heads_without_their_bodies(script: Script) -> None:
    asked = [{"method": "HEAD", "url": f"/{path}"} for path in ("health", "ready", "v1/models")]
    assert statuses(script, Doors(), *asked) == [200, 200, 200]


def test_a_refusal_says_how_to_send_a_key(script: Script) -> None:
    async def run() -> httpx.Response:
        async with http(script, Doors(Keys(["k"]))) as made:
            return await made.post("/v1/chat/completions", json=HELLO)

    told = asyncio.run(run())
    assert told.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer KEY" in told.json()["error"]["message"]
    assert told.json()["error"]["code"] == "invalid_api_key"


def test_without_keys_only_the_own_machine_may_end_the_server(script: Script) -> None:
    asked = [{"url": "/ingle/status"}, {"url": "/v1/models"}]
    assert statuses(script, Doors(), *asked, client="10.1.2.3") == [403, 200]
    assert statuses(script, Doors(), *asked, client="::1") == [200, 200]


def test_files_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# mine\nfirst\n\n  second  \n")
    assert read_keys(path) == ["first", "second"]
    path.write_text("# none\n")
    with pytest.raises(IngleError, match="one a line, but got none"):
        read_keys(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(IngleError, match="no text"):
        read_keys(path)
    with pytest.raises(IngleError, match="No such file"):
        read_keys(tmp_path / "absent")
    for wrong in ("", "a b", "ü", "a\x00b"):
        with pytest.raises(IngleError, match="--api-key"):
            check_key(wrong, "--api-key")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_an_address_that_others_reach_needs_a_key(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(IngleError, match="needs a key"):
        Address(host, 1).check()
    Address(host, 1, Doors(Keys(["k"]))).check()
    Address(host, 1, open_to_all=True).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    Address(host, 1).check()


HOSTS = [
    ("localhost", 200),
    ("localhost:11434", 200),
    ("a.localhost:1", 200),
    ("127.0.0.1:11434", 200),
    ("[::1]:11434", 200),
    ("192.168.1.5", 200),  # no DNS stands between
    ("desk:11434", 200),
    ("evil.example", 403),
    ("localhost.evil.example:11434", 403),
    ("127.0.0.1.evil.example", 403),
]


@pytest.mark.parametrize(("host", "status"), HOSTS)
def test_only_names_of_its_own_reach_it(script: Script, host: str, status: int) -> None:
    doors = Doors(neighbours=Neighbours.of([], ["Desk"]))
    assert statuses(script, doors, {"headers": {"Host": host}}) == [status]


ORIGINS = [
    ("http://localhost:3000", 200),
    ("http://127.0.0.1", 200),
    ("https://ui.example", 200),
    ("vscode-webview://abc", 200),
    ("tauri://localhost", 200),
    ("http://10.0.0.9:11434", 200),  # the server's own page
    ("null", 403),
    ("https://evil.example", 403),
    ("https://localhost.evil.example", 403),
    ("https://ui.example.evil", 403),
]


@pytest.mark.parametrize(("origin", "status"), ORIGINS)
def test_pages_of_other_origins(script: Script, origin: str, status: int) -> None:
    doors = Doors(neighbours=Neighbours.of(["https://UI.example/"], None))
    headers = {"Origin": origin, "Host": "10.0.0.9:11434"}
    assert statuses(script, doors, {"headers": headers}) == [status]


def test_browsers_are_told(script: Script) -> None:
    async def run() -> list[httpx.Response]:
        doors = Doors(Keys(["k"]), Neighbours.of(["*"], None))
        async with http(script, doors) as made:
            ask = {
                "Origin": "https://ui.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization, content-type",
            }
            before = await made.options("/v1/chat/completions", headers=ask)
            headers = {"Origin": "https://ui.example", "Authorization": "Bearer k"}
            answer = await made.get("/v1/models", headers=headers)
        return [before, answer]

    before, answer = asyncio.run(run())
    assert before.status_code == 204  # a browser sends no key with it
    assert before.headers["access-control-allow-headers"] == "authorization, content-type"
    assert "POST" in before.headers["access-control-allow-methods"]
    for one in (before, answer):
        assert one.headers["access-control-allow-origin"] == "https://ui.example"
        assert one.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["ui.example", "https://", "https://ui.example/path"])
def test_what_is_no_origin(origin: str) -> None:
    with pytest.raises(IngleError, match="--cors-origin"):
        Neighbours.of([origin], None)


def test_a_body_that_comes_too_slowly(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PATIENCE_S", 0.05)

    async def slow() -> Any:
        yield b'{"model":'
        await asyncio.sleep(3600)

    got = statuses(
        script,
        Doors(),
        {
            "method": "POST",
            "url": "/v1/chat/completions",
            "content": slow(),
            "headers": {"Content-Type": "application/json"},
        },
    )
    assert got == [408]


def test_too_much_at_once(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_ALL_BYTES", 300)
    big = {"method": "POST", "url": "/v1/chat/completions", "json": HELLO | {"user": "x" * 400}}
    small = {"method": "POST", "url": "/v1/chat/completions", "json": HELLO}
    assert statuses(script, Doors(), big, small, big, small) == [503, 200, 503, 200]


KINDS = ["application/x-www-form-urlencoded", "text/plain", "text/plain;charset=UTF-8", None]
BODIES = [
    ("/v1/chat/completions", HELLO),
    ("/v1/completions", {"prompt": "a", "max_tokens": 1}),
    ("/v1/responses", {"input": "hello"}),
    ("/v1/messages", HELLO | {"max_tokens": 4}),
    ("/api/chat", HELLO | {"stream": False}),
    ("/api/generate", {"model": "scripted", "prompt": "hello", "stream": False}),
    ("/tokenize", {"content": "a"}),
    ("/ingle/stop", {"model": "scripted"}),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_is_json_whatever_its_type(script: Script, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    asked: list[dict[str, Any]] = [
        {"method": "POST", "url": path, "content": json.dumps(body), "headers": headers}
        for path, body in BODIES
    ]
    assert statuses(script, Doors(), *asked) == [200] * len(BODIES)
    (refused,) = statuses(script, Doors(), asked[0] | {"content": "{"})
    assert refused == 400


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_strangers_page_sends_no_body_of_any_type(
    script: Script, kind: str | None, origin: str
) -> None:
    headers = {"Origin": origin} | ({} if kind is None else {"Content-Type": kind})
    asked: list[dict[str, Any]] = [
        {"method": "POST", "url": path, "content": json.dumps(body), "headers": headers}
        for path, body in BODIES
    ]
    assert statuses(script, Doors(), *asked) == [403] * len(BODIES)
    assert script.steps == 0
