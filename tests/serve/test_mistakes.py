"""Mistakes are told in the dialect of the path that was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ingle.runtime import BusyError
from ingle.serve import mistake
from ingle.serve.refusal import refusal_of

OPENAI = {"message": "Not Found", "type": "invalid_request_error", "param": None, "code": None}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/nothing", {"error": OPENAI}),
        ("/nothing", {"error": OPENAI}),
        ("/api/nothing", {"error": "Not Found"}),
        (
            "/v1/messages/nothing",
            {"type": "error", "error": {"type": "not_found_error", "message": "Not Found"}},
        ),
    ],
)
def test_unknown_routes(ask: Callable[..., Any], path: str, body: dict[str, Any]) -> None:
    async def run() -> None:
        async with ask() as http:
            answer = await http.post(path, json={})
        assert (answer.status_code, answer.json()) == (404, body)

    asyncio.run(run())


def test_who_is_busy_says_when_to_come_again() -> None:
    busy = BusyError("at most 8 requests can wait, but got one more", 2.2)
    for path in ("/v1/chat/completions", "/api/chat", "/v1/messages"):
        answer = mistake.respond(path, busy)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")


def test_a_bug_is_not_told_to_clients() -> None:
    refusal = refusal_of(KeyError("secret"))
    assert refusal.status == 500 and "secret" not in refusal.message
