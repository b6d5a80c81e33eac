"""Owns mistakes as Anthropic's API tells them: a kind and a message. It does not know routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingle.serve.refusal import Refusal

# Of https://docs.anthropic.com/en/api/errors; a server that is full is "overloaded" at any status.
_KINDS: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def body_of(refusal: Refusal) -> dict[str, Any]:
    """A refusal in Anthropic's words.

    >>> body_of(Refusal(404, "no such model"))
    {'type': 'error', 'error': {'type': 'not_found_error', 'message': 'no such model'}}
    """
    usual = "invalid_request_error" if refusal.status < 500 else "api_error"
    kind, message = _KINDS.get(refusal.status, usual), refusal.message
    if refusal.sizes is not None:  # clients look for these words, and make room
        message = "prompt is too long: {} tokens > {} maximum\n{}".format(*refusal.sizes, message)
    return {"type": "error", "error": {"type": kind, "message": message}}
