"""``/health`` and ``/ingle/...``: owns what a server tells and does for those who run it.

`ingle ps` and `ingle stop` ask here. It does not know what is answered to clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, BackgroundTasks
from pydantic import BaseModel

from ingle import __version__
from ingle.serve.rack import Place, Rack


class StopBody(BaseModel):
    """model: the one to unload; None ends the server."""

    model: str | None = None


def router(rack: Rack, leave: Callable[[], None]) -> APIRouter:
    """The routes. leave: ends the server once its requests are done."""
    routes = APIRouter(tags=["ingle"])

    @routes.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok", "version": __version__}

    @routes.get("/ingle/status")
    async def status() -> dict[str, Any]:
        """The models, and what they are doing."""
        return {"version": __version__, "models": [_told(p) for p in rack.places.values()]}

    @routes.post("/ingle/stop")
    async def stop(body: StopBody, later: BackgroundTasks) -> dict[str, Any]:
        """Unload a model, or end the server."""
        if body.model is not None:
            await rack.unload(body.model)
            return {"stopped": body.model}
        later.add_task(asyncio.to_thread, leave)
        return {"stopped": None}

    return routes


def _told(place: Place) -> dict[str, Any]:
    loaded = place.model is not None
    about = dict(place.model.status()) if place.model is not None else {}
    return {"name": place.name, "loaded": loaded, **about}
