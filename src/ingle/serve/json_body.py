"""Owns JSON as it is sent: whatever text was said, the bytes are valid UTF-8."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import JSONResponse


def written(body: Any) -> bytes:
    """JSON in UTF-8. Lone surrogates, which clients can send and UTF-8 cannot hold, become "?"."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


class JsonBody(JSONResponse):
    """A response of `written`."""

    def render(self, content: Any) -> bytes:
        """As the framework calls it."""
        return written(content)
