"""Owns server-sent events (WHATWG HTML, 9.2) as OpenAI's API writes them."""

from __future__ import annotations

import json
from typing import Any

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"


def event(body: dict[str, Any]) -> bytes:
    """One event of JSON."""
    return b"data: " + json.dumps(body, ensure_ascii=False, allow_nan=False).encode() + b"\n\n"
