"""Owns models as Anthropic's API lists them. It does not know routes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ingle.serve.catalogue import Listed

VERSION_HEADER = "anthropic-version"  # by which clients of this API are known


def listed(models: Iterable[Listed]) -> dict[str, Any]:
    """All of them, on one page."""
    found = [told(one) for one in models]
    first, last = (found[0]["id"], found[-1]["id"]) if found else (None, None)
    return {"data": found, "has_more": False, "first_id": first, "last_id": last}


def told(one: Listed) -> dict[str, Any]:
    """One of them."""
    created = datetime.fromtimestamp(one.created, UTC)
    return {
        "type": "model",
        "id": one.name,
        "display_name": one.name,
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": one.context_tokens,
    }
