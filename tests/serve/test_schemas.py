"""A schema that cannot be kept is told by the name that its field has in each dialect."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingle.chat.constraint.references import check_references
from ingle.errors import IngleError
from ingle.serve.app import create_app
from ingle.serve.rack import Place, Rack

sys.path.insert(0, str(Path(__file__).parent))
from harmony_script import ServedHarmony

DEPTH = 300
DEEP = json.loads('{"properties":{"a":' * DEPTH + "{}" + "}}" * DEPTH)
NEGATED = json.loads('{"not":' * DEPTH + "{}" + "}" * DEPTH)
ITSELF = {"$ref": "#"}
IN_A_RING = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
WITHIN = {"properties": {"a": {"oneOf": [{"$ref": "#/properties/a"}]}}}
SCHEMAS = [DEEP, NEGATED, ITSELF, IN_A_RING, WITHIN]
SAID = {"messages": [{"role": "user", "content": "x"}], "stream": False, "max_tokens": 4}


def of_chat(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


FIELDS: list[tuple[str, str, Callable[[Any], dict[str, Any]]]] = [
    (
        "/v1/chat/completions",
        "response_format",
        lambda schema: SAID | {"response_format": of_chat(schema)},
    ),
    (
        "/v1/completions",
        "response_format",
        lambda schema: {"prompt": "x", "response_format": of_chat(schema)},
    ),
    (
        "/v1/responses",
        "text.format",
        lambda schema: {
            "input": "x",
            "text": {"format": {"type": "json_schema", "name": "a", "schema": schema}},
        },
    ),
    (
        "/v1/messages",
        "output_config.format",
        lambda schema: (
            SAID | {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
        ),
    ),
    ("/api/chat", "format", lambda schema: SAID | {"format": schema}),
    (
        "/api/generate",
        "format",
        lambda schema: {"prompt": "x", "stream": False, "format": schema},
    ),
]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize(("path", "field", "body"), FIELDS)
def test_a_bad_schema_is_a_mistake_of_its_field(
    ask: Callable[..., Any], path: str, field: str, body: Callable[[Any], Any], schema: Any
) -> None:
    async def run() -> None:
        async with ask() as http:
            answer = await http.post(path, json={"model": "scripted"} | body(schema))
        assert answer.status_code == 400, answer.text
        told = answer.json()["error"]
        message = told if isinstance(told, str) else told["message"]
        assert message.startswith(f"[{field}] a schema must"), message
        if "param" in message:
            assert told["param"] == field

    asyncio.run(run())


@pytest.mark.parametrize("schema", [DEEP, ITSELF, {"type": "object", "properties": 5}])
def test_a_bad_schema_of_a_tool_is_a_mistake_of_tools(schema: Any) -> None:
    inner = {"name": "look", "parameters": schema}
    llm = ServedHarmony({"x": "<|channel|>final<|message|>x"})
    transport = httpx.ASGITransport(create_app(Rack([Place("gpt-oss:20b", lambda: llm, llm)])))  # type: ignore[arg-type]

    async def run() -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://t", timeout=60) as http:
            for path, asked in (
                ("/v1/chat/completions", SAID | {"tools": [{"function": inner}]}),
                ("/v1/responses", {"input": "x", "tools": [{"type": "function", **inner}]}),
            ):
                answer = await http.post(path, json=asked)
                assert answer.status_code == 400, answer.text
                told = answer.json()["error"]
                assert told["param"] == "tools" and "[tools] tool look: " in told["message"]

    asyncio.run(run())


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"anyOf": [{"$ref": "#"}, {"type": "string"}]},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}},
        {"const": {"$ref": "#/const"}},
        {"$ref": "https://elsewhere.example/schema"},
        {"$ref": "#/absent/0"},
    ],
)
def test_references_that_lead_on(schema: dict[str, Any]) -> None:
    check_references(schema, "format")


@pytest.mark.parametrize("schema", [ITSELF, IN_A_RING, WITHIN, {"anyOf": [{"$ref": "#"}]}])
def test_references_that_lead_back(schema: dict[str, Any]) -> None:
    with pytest.raises(IngleError, match="itself alone"):
        check_references(schema, "format")


def test_many_ways_back_are_no_more_work_than_one() -> None:
    size = 60  # 2^60 ways through the ring
    both = [{"anyOf": [{"$ref": f"#/$defs/{(i + 1) % size}"}] * 2} for i in range(size)]
    with pytest.raises(IngleError, match="itself alone"):
        check_references({"$defs": {str(i): one for i, one in enumerate(both)}}, "format")


def test_references_may_be_a_long_chain() -> None:
    chain: dict[str, Any] = {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(5000)}
    check_references({"$defs": chain | {"5000": {"type": "string"}}}, "format")
