"""Clients that are slow, silent or too many: they wait, or go, and the others are served."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingle.serve import body, launch, wire
from ingle.serve.files import raise_file_limit

sys.path.insert(0, str(Path(__file__).parent))
from live import Live, living, post, read_all

Script = Any
CHAT = "/v1/chat/completions"


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": text}]} | more


def is_served(live: Live) -> bool:
    answer = httpx.post(f"{live.url}{CHAT}", json=asked("hello"), timeout=60)
    return bool(answer.json()["choices"][0]["message"]["content"] == "You said: hello")


def until(done: Any) -> None:
    for _ in range(6000):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


@pytest.mark.parametrize("sent", [b"", b"GET /v1/mo", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_head_that_does_not_come_is_not_waited_for(
    script: Script, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(wire, "HEAD_S", 0.2)
    monkeypatch.setattr(wire, "SILENT_S", 0.4)
    with living(script.llm) as live, live.connect() as slow:
        slow.sendall(sent)
        assert is_served(live)
        assert read_all(slow) == b""


def test_a_head_of_one_byte_at_a_time_ends_too(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HEAD_S", 0.3)
    with living(script.llm) as live, live.connect() as slow:
        with pytest.raises(ConnectionError):
            for byte in b"GET /v1/models HTTP/1.1\r\nX-Long: " + b"x" * 10_000:
                slow.sendall(bytes([byte]))
                time.sleep(0.01)
        assert is_served(live)


def test_a_body_of_one_byte_at_a_time_ends_too(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "PATIENCE_S", 0.3)
    whole = post(CHAT, asked("x" * 2000))
    with living(script.llm) as live, live.connect() as slow:
        slow.sendall(whole[:200])
        with pytest.raises(ConnectionError):
            for byte in whole[200:]:
                slow.sendall(bytes([byte]))
                time.sleep(0.01)
        assert is_served(live)


def test_a_kept_connection_is_used_again(script: Script) -> None:
    with living(script.llm) as live, httpx.Client(base_url=live.url) as http:
        for _ in range(3):
            assert http.get("/v1/models").status_code == 200
        with live.connect() as sock:  # two requests in one piece
            one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
            sock.sendall(one + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert read_all(sock).count(b"HTTP/1.1 200 ") == 2


def slow_reader(live: Live) -> socket.socket:
    """Asks for more than all buffers hold, and reads nothing."""
    made = live.connect(SO_RCVBUF=4096)
    made.sendall(post(CHAT, asked("long", stream=True, n=16, max_tokens=190), Connection="close"))
    return made


def is_paused(script: Script, before: list[int]) -> bool:
    before.append(script.steps)
    return len(before) > 40 and len(set(before[-40:])) == 1 and script.steps > 0


def test_an_answer_waits_for_its_reader_and_nobody_else_does(script: Script) -> None:
    script.replies["long"] = [32] * 189  # "A"
    with living(script.llm) as live, slow_reader(live) as slow:
        steps: list[int] = []
        until(lambda: is_paused(script, steps))
        assert script.steps < 600  # of the 756 that all of it takes, four at a time
        assert is_served(live)
        text = read_all(slow).decode()
    said = "".join(re.findall(r'"content": ?"(A*)"', text))
    assert said == "A" * (16 * 189)
    assert "data: [DONE]" in text


def test_an_answer_that_nobody_reads_ends(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "UNREAD_S", 0.3)
    script.replies["long"] = [32] * 189  # "A"
    scheduler = script.llm.engine.scheduler
    with living(script.llm) as live, slow_reader(live) as slow:
        until(lambda: script.steps > 0)
        until(lambda: not scheduler.running and not len(scheduler.line))
        with contextlib.suppress(ConnectionError):
            assert b"[DONE]" not in read_all(slow)
        assert is_served(live)


def test_one_connection_too_many_takes_the_place_of_an_idle_one(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "raise_file_limit", lambda: 0)  # the least: 64 connections
    with living(script.llm) as live, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(live.connect()) for _ in range(80)]
        assert is_served(live)
        assert read_all(idle[0]) == b""
        place = live.rack.places["scripted"]
        until(lambda: place.users == 0)  # given back just after the answer's last byte


@pytest.mark.slow
def test_five_thousand_idle_connections(script: Script) -> None:
    needed = 2 * 5000 + 500  # both ends are here
    if raise_file_limit() < needed:
        pytest.skip(f"this user may have fewer than {needed} files open")
    with living(script.llm) as live, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(live.connect()) for _ in range(5000)]
        for sock in idle[::100]:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for sock in idle[::100]:
            assert sock.recv(1 << 12).startswith(b"HTTP/1.1 200")
        assert is_served(live)
