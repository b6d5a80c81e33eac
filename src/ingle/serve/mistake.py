"""Owns which dialect tells a mistake: that of the path that was asked. It does not know routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from ingle.serve.anthropic import error as anthropic_error
from ingle.serve.json_body import JsonBody
from ingle.serve.ollama import error as ollama_error
from ingle.serve.openai import error as openai_error
from ingle.serve.refusal import Refusal, refusal_of

_BODIES: tuple[tuple[str, Callable[[Refusal], dict[str, Any]]], ...] = (
    ("/api/", ollama_error.body_of),
    ("/v1/messages", anthropic_error.body_of),
    ("", openai_error.body_of),
)


def respond(path: str, error: Exception) -> JSONResponse:
    """The answer to whatever a request for `path` has met."""
    refusal = refusal_of(error)
    body = next(body for start, body in _BODIES if path.startswith(start))(refusal)
    return JsonBody(body, refusal.status, refusal.headers)


async def respond_to_any(request: Request, error: Exception) -> JSONResponse:
    """`respond`, as the framework calls it."""
    return respond(request.url.path, error)
