"""Owns JSON as it is sent: whatever text was said, the bytes are valid UTF-8."""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi.responses import JSONResponse

from ingle.errors import IngleError


def written(body: Any) -> bytes:
    """JSON in UTF-8, whatever clients sent that is told them again.

    Lone surrogates, which UTF-8 cannot hold, become "?"; numbers that JSON cannot hold, null.
    Raises IngleError for what is nested too deeply.
    """
    try:
        try:
            text = _dumped(body)
        except ValueError:
            text = _dumped(_finite(body))
    except RecursionError:
        raise IngleError("body", "it must not be nested so deeply, but got more") from None
    return text.encode("utf-8", "replace")


def _dumped(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class JsonBody(JSONResponse):
    """A response of `written`."""

    def render(self, content: Any) -> bytes:
        """As the framework calls it."""
        return written(content)
