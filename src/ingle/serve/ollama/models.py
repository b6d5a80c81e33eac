"""``/api/tags``, ``show``, ``ps``, ``copy``, ``delete``, ``version``: owns Ollama's lists.

What is read from disk is read off the event loop.
"""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, StrictStr

from ingle import __version__, hub
from ingle.serve.catalogue import cards
from ingle.serve.ollama import card
from ingle.serve.ollama.loading import let_go
from ingle.serve.ollama.naming import NameBody, checked
from ingle.serve.rack import Place, Rack

API_VERSION = "0.13.5"  # of Ollama, whose API this is; clients ask for a least one
GREETING = "Ollama is running"  # which clients look for
_FOREVER = timedelta(days=36_500)


class CopyBody(BaseModel):
    """Which model gets which other name."""

    model_config = ConfigDict(extra="allow")

    source: StrictStr
    destination: StrictStr


def router(rack: Rack) -> APIRouter:
    """The routes about models."""
    routes = APIRouter(tags=["Ollama"])

    @routes.head("/", response_class=PlainTextResponse, include_in_schema=False)
    @routes.get("/", response_class=PlainTextResponse)
    async def greet() -> str:
        """What clients look for to see whether a server runs."""
        return GREETING

    @routes.head("/api/version", include_in_schema=False)
    @routes.get("/api/version")
    async def version() -> dict[str, str]:
        """The version of Ollama whose API this is, and ingle's own."""
        return {"version": API_VERSION, "ingle": __version__}

    @routes.head("/api/tags", include_in_schema=False)
    @routes.get("/api/tags")
    async def tags() -> dict[str, Any]:
        """The models that can be asked for."""
        return {"models": [one.listed() for one in await cards(rack)]}

    @routes.get("/api/ps")
    async def ps() -> dict[str, Any]:
        """The models that are loaded."""
        loaded = [place for place in rack.places.values() if place.model is not None]
        return {"models": [await _running(rack, place) for place in loaded]}

    @routes.post("/api/show")
    async def show(body: NameBody) -> dict[str, Any]:
        """All about one model."""
        place = rack.places.get(body.model or body.name or "")
        name = body.checked(rack) if place is None else place.name
        return await asyncio.to_thread(card.page, name, bool(body.verbose))

    @routes.post("/api/copy", response_class=Response)
    async def copy(body: CopyBody) -> Response:
        """Give a model another name."""
        source = checked(body.source, rack, "source")
        name = checked(body.destination, rack, "destination")
        await asyncio.to_thread(hub.copy, source, name)
        await forget(rack, name)
        return Response()

    @routes.delete("/api/delete", response_class=Response)
    async def delete(body: NameBody) -> Response:
        """Remove a model from this machine, after freeing it."""
        name = body.checked(rack)
        await asyncio.to_thread(hub.remove, name)
        await forget(rack, name)
        return Response()

    return routes


async def forget(rack: Rack, name: str) -> None:
    """What is loaded under a name that means something else now is freed."""
    if name in rack.places:
        await let_go(rack, name)
        rack.remove(name)


async def _running(rack: Rack, place: Place) -> dict[str, Any]:
    about = (await asyncio.to_thread(card.card, place.name)).listed()
    about.pop("modified_at")
    left_s = rack.expires_s(place)
    ends = datetime.now(UTC) + (
        _FOREVER if math.isinf(left_s) else timedelta(seconds=min(left_s, _FOREVER.total_seconds()))
    )
    context = 0 if place.model is None else place.model.context_tokens
    return {
        **about,
        "expires_at": ends.isoformat().replace("+00:00", "Z"),
        "size_vram": 0,
        "context_length": context,
    }
