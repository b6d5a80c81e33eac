"""Owns server-sent events (WHATWG HTML, 9.2) as OpenAI's API writes them."""

from __future__ import annotations

from typing import Any

from ingle.serve.json_body import written

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"


def event(body: dict[str, Any], name: str | None = None) -> bytes:
    """One event of JSON. name: of its kind, where clients dispatch by it."""
    head = b"" if name is None else f"event: {name}\n".encode()
    return head + b"data: " + written(body) + b"\n\n"
