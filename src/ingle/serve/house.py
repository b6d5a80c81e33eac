"""Owns what a server tells and does for those who run it.

``/health``, ``/ready``, ``/metrics``, ``/docs``, and what `ingle ps` and `ingle stop` ask. It does
not know what is answered to clients.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, StrictStr

from ingle import __version__
from ingle.serve.metrics import MEDIA_TYPE, Metrics
from ingle.serve.rack import Place, Rack
from ingle.serve.reference import reference_page


class StopBody(BaseModel):
    """model: the one to unload; None ends the server."""

    model: StrictStr | None = None


@dataclass
class Life:
    """leave: ends the server once its requests are done. leaving: that has begun."""

    leave: Callable[[], None] = lambda: None
    leaving: bool = False


def router(rack: Rack, life: Life, metrics: Metrics) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["ingle"])

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok", "version": __version__}

    @routes.head("/ready", include_in_schema=False, response_model=None)
    @routes.get("/ready", response_model=None)
    async def ready() -> Response:
        """Whether a request would be taken now: 503 while the server ends or its line is full."""
        full = [p.name for p in rack.places.values() if p.model is not None and _is_full(p)]
        said = "ending" if life.leaving else "busy" if full else "ok"
        return JSONResponse({"status": said}, 200 if said == "ok" else 503)

    @routes.get("/metrics", response_model=None)
    async def prometheus() -> Response:
        """Numbers for Prometheus."""
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    @routes.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        """The API as a page."""
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(reference_page(request.app.openapi()), headers=headers)

    @routes.get("/ingle/status")
    async def status() -> dict[str, Any]:
        """The models, and what they are doing."""
        return {
            "version": __version__,
            "memory_bytes": rack.budget.limit_bytes,
            "models": [_told(rack, place) for place in rack.places.values()],
        }

    @routes.post("/ingle/stop")
    async def stop(body: StopBody, later: BackgroundTasks) -> dict[str, Any]:
        """Unload a model, or end the server."""
        if body.model is not None:
            await rack.unload(body.model)
            return {"stopped": body.model}
        later.add_task(asyncio.to_thread, life.leave)
        return {"stopped": None}

    return routes


def _is_full(place: Place) -> bool:
    status = {} if place.model is None else place.model.status()
    return bool(status.get("waiting", 0) >= status.get("max_waiting", math.inf))


def _told(rack: Rack, place: Place) -> dict[str, Any]:
    loaded = place.model is not None
    about = dict(place.model.status()) if place.model is not None else {}
    demand, expires_s = place.demand, rack.expires_s(place) if loaded else math.inf
    granted = {} if demand is None or demand.granted is None else dict(demand.granted.categories)
    if demand is not None and granted:
        granted["prefix_cache"] = demand.cache
        about["sequences"] = demand.granted.batch if demand.granted else 0
    return {
        "name": place.name,
        "loaded": loaded,
        "memory_bytes": demand.nbytes if demand is not None else 0,
        "memory": granted,
        "users": place.users,
        "expires_s": round(expires_s, 1) if math.isfinite(expires_s) else None,
        **about,
    }
