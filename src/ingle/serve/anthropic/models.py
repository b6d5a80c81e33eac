"""Owns models as Anthropic's API lists them. It does not know routes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ingle.serve.rack import Place

VERSION_HEADER = "anthropic-version"  # by which clients of this API are known


def listed(places: Iterable[Place]) -> dict[str, Any]:
    """All of them, on one page."""
    found = [told(place) for place in places]
    first, last = (found[0]["id"], found[-1]["id"]) if found else (None, None)
    return {"data": found, "has_more": False, "first_id": first, "last_id": last}


def told(place: Place) -> dict[str, Any]:
    """One of them."""
    created = datetime.fromtimestamp(place.created, UTC)
    most = None if place.model is None else place.model.context_tokens
    return {
        "type": "model",
        "id": place.name,
        "display_name": place.name,
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": most,
    }
