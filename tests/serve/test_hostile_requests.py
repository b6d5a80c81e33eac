"""Whatever is sent to whatever route: a mistake of the client's is told, and the server goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

DEPTHS = (3, 90, 400, 900, 990, 1100, 5_000, 50_000)
PATH_VALUES = ("x", "%00", "..%2f..%2fetc%2fpasswd", "a" * 3000, "%ff%fe", "💥")
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, -1e308, 10**30, -(10**30), 1 << 63, "", " ", "\x00", "\ud800"),
    *("x" * 70_000, [], [[]], [None], {}, {"": None}, {"a": {"b": []}}, [{"role": 5}], ["\udfff"]),
)


def deep(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + "1" + closing * depth


def bodies(field: str) -> Iterator[bytes]:
    """Bodies that are no request, or one with an odd value in `field`."""
    for depth in DEPTHS:
        yield f'{{"{field}": {deep(depth)}}}'.encode()
        yield ('{"' + field + '":' + deep(depth, '{"a":', "}") + "}").encode()
    for number in ("NaN", "Infinity", "-Infinity", "1e400", "1" * 6000, "-0", "1E+2", "0x10", "01"):
        yield f'{{"{field}": {number}}}'.encode()
    yield from (b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b'{"\xff": 1}', b"\x00", b"{}{}")
    yield f'{{"{field}": 1, "{field}": 2}}'.encode()


def fields(app: Any) -> Iterator[tuple[str, str, list[str]]]:
    """Every method and path of the server, with the fields of its body."""
    api = app.openapi()
    for path, verbs in api["paths"].items():
        for verb, operation in verbs.items():
            schema: dict[str, Any] = {}
            for media in operation.get("requestBody", {}).get("content", {}).values():
                name = str(media.get("schema", {}).get("$ref", "")).rpartition("/")[2]
                schema = api.get("components", {}).get("schemas", {}).get(name, {})
            if path != "/ingle/stop" and not path.startswith("/api/pull"):
                yield verb.upper(), path, list(schema.get("properties", {}))


def served(ask: Callable[..., Any], run: Any) -> list[tuple[str, bytes, int]]:
    """What each request was answered; then one that must be served."""

    async def all_of_them() -> list[tuple[str, bytes, int]]:
        async with ask() as http:
            found = await run(http)
            hello = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}
            answer = await http.post("/v1/chat/completions", json=hello)
            assert answer.json()["choices"][0]["message"]["content"] == "You said: hello"
            return list(found)

    return asyncio.run(all_of_them())


KIND = {"Content-Type": "application/json"}


async def sent(
    http: httpx.AsyncClient, method: str, path: str, content: bytes
) -> tuple[str, bytes, int]:
    answer = await http.request(method, path, content=content, headers=KIND)
    return f"{method} {path}", content[:200], answer.status_code


def test_bodies_that_are_no_request(ask: Callable[..., Any], app: Any) -> None:
    async def run(http: httpx.AsyncClient) -> list[tuple[str, bytes, int]]:
        found = []
        for method, path, names in fields(app):
            if method == "POST":
                for content in bodies((names or ["model"])[0]):
                    found.append(await sent(http, method, path, content))
        return found

    found = served(ask, run)
    assert len(found) >= 35
    assert [one for one in found if one[2] >= 500] == []


def test_odd_values_in_every_field(ask: Callable[..., Any], app: Any) -> None:
    """Each is read, or refused: 503 is for what waits, and nothing here does."""

    async def run(http: httpx.AsyncClient) -> list[tuple[str, bytes, int]]:
        found = []
        for method, path, names in fields(app):
            known = {
                "model": "scripted",
                "messages": [{"role": "user", "content": "x"}],
                "prompt": "x",
                "input": "x",
                "max_tokens": 3,
                "stream": False,
            }
            usual = {name: value for name, value in known.items() if name in names}
            for name in names:
                for value in ODD_VALUES:
                    content = json.dumps(usual | {name: value}).encode()
                    found.append(await sent(http, method, path, content))
        return found

    found = served(ask, run)
    assert len(found) > 300
    assert [one for one in found if one[2] >= 500] == []


@pytest.mark.parametrize("value", PATH_VALUES)
def test_odd_paths(ask: Callable[..., Any], app: Any, value: str) -> None:
    async def run(http: httpx.AsyncClient) -> list[tuple[str, bytes, int]]:
        paths = {path for _, path, _ in fields(app)} | {"/{x}", "/v1/{x}", "/api/{x}"}
        found = []
        for path in sorted(paths):
            start = path.partition("{")[0]
            for method in ("GET", "POST", "DELETE", "HEAD", "PATCH"):
                found.append(await sent(http, method, start + value, b"{}"))
        return found

    assert [one for one in served(ask, run) if one[2] >= 500] == []
