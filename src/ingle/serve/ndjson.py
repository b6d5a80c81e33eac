"""Owns streams of JSON objects, one a line, as Ollama's API sends them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingle.serve.json_body import written

MEDIA_TYPE = "application/x-ndjson"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def line(body: Mapping[str, Any]) -> bytes:
    """One object and the end of its line."""
    return written(body) + b"\n"
