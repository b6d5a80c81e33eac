"""Owns mistakes as OpenAI's API tells them: a status, and an error object.

It does not know routes.
"""

from __future__ import annotations

import math
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ingle.errors import IngleError, ModelNotFoundError, UnreachableError
from ingle.runtime import BusyError, DeadlineError


def error_object(
    message: str, kind: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """``{"error": {...}}``."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def told(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body for whatever a request has met."""
    if isinstance(error, BusyError):
        return 503, error_object(str(error), "server_error", code="overloaded")
    if isinstance(error, DeadlineError):
        return 504, error_object(str(error), "server_error", code="timeout")
    if isinstance(error, ModelNotFoundError):
        body = error_object(str(error), "invalid_request_error", "model", "model_not_found")
        return 404, body
    if isinstance(error, UnreachableError):
        return 502, error_object(str(error), "server_error")
    if isinstance(error, IngleError):
        code = "context_length_exceeded" if _too_long(error) else None
        return 400, error_object(str(error), "invalid_request_error", error.where, code)
    if isinstance(error, MemoryError):
        rule = "the server has no memory left for this request"
        return 503, error_object(rule, "server_error", code="overloaded")
    return 500, error_object("the server met a bug of its own; its log says more", "server_error")


def respond(error: Exception) -> JSONResponse:
    """The same as a response."""
    status, body = told(error)
    headers = {}
    if status == 503:
        wait_s = getattr(error, "retry_after_s", 1.0)
        headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    return JSONResponse(body, status, headers)


async def respond_to_validation(_: Request, error: Exception) -> JSONResponse:
    """400 that names the first field that is wrong."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        said = f"[body] the body must be JSON, but got an error at character {first['loc'][-1]}."
        return JSONResponse(error_object(said, "invalid_request_error"), 400)
    field = ".".join(str(part) for part in first["loc"] if part != "body")
    rule = str(first["msg"]).lower()
    said = f"[{field or 'body'}] {rule}, but got {first.get('input')!r:.80}."
    return JSONResponse(error_object(said, "invalid_request_error", field or None), 400)


async def respond_to_status(_: Request, error: Exception) -> JSONResponse:
    """What the framework refuses: unknown routes, methods, bodies that are no JSON."""
    assert isinstance(error, HTTPException)
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    body = error_object(str(error.detail), kind)
    return JSONResponse(body, error.status_code, dict(error.headers or {}))


async def respond_to_any(_: Request, error: Exception) -> JSONResponse:
    """`respond`, as the framework calls it."""
    return respond(error)


def _too_long(error: IngleError) -> bool:
    return error.where == "prompt" and "tokens, but got" in error.rule
