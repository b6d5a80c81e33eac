"""``/v1/models``: owns OpenAI's list of models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from ingle.serve.anthropic import models as anthropic
from ingle.serve.rack import Place, Rack


def router(rack: Rack) -> APIRouter:
    """The routes of this dialect."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        """The models that are served; in Anthropic's words to clients of its API."""
        if anthropic.VERSION_HEADER in request.headers:
            return anthropic.listed(rack.places.values())
        return {"object": "list", "data": [_object(place) for place in rack.places.values()]}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str, request: Request) -> dict[str, Any]:
        """One of them."""
        place = rack.place(name)
        is_anthropics = anthropic.VERSION_HEADER in request.headers
        return anthropic.told(place) if is_anthropics else _object(place)

    return routes


def _object(place: Place) -> dict[str, Any]:
    return {
        "id": place.name,
        "object": "model",
        "created": place.created,
        "owned_by": "ingle",
        **({} if place.model is None else {"max_model_len": place.model.context_tokens}),
    }
