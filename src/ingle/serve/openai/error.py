"""Owns mistakes as OpenAI's API tells them: an error object. It does not know routes."""

from __future__ import annotations

from typing import Any

from ingle.serve.refusal import Refusal, refusal_of


def error_object(
    message: str, kind: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """``{"error": {...}}``."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def body_of(refusal: Refusal) -> dict[str, Any]:
    """A refusal in OpenAI's words."""
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    return error_object(refusal.message, kind, refusal.where, refusal.code)


def told(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body for whatever a request has met."""
    refusal = refusal_of(error)
    return refusal.status, body_of(refusal)
