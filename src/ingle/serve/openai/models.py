"""``/v1/models``: owns OpenAI's list of models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from ingle.serve.anthropic import models as anthropic
from ingle.serve.catalogue import Listed, catalogue, listed
from ingle.serve.rack import Rack


def router(rack: Rack) -> APIRouter:
    """The routes of this dialect."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.head("/v1/models", include_in_schema=False)
    @routes.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        """The models that can be asked for; in Anthropic's words to clients of its API."""
        found = await catalogue(rack)
        if anthropic.VERSION_HEADER in request.headers:
            return anthropic.listed(found)
        return {"object": "list", "data": [_object(one) for one in found]}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str, request: Request) -> dict[str, Any]:
        """One of them."""
        one = listed(rack.place(name))
        is_anthropics = anthropic.VERSION_HEADER in request.headers
        return anthropic.told(one) if is_anthropics else _object(one)

    return routes


def _object(one: Listed) -> dict[str, Any]:
    return {
        "id": one.name,
        "object": "model",
        "created": one.created,
        "owned_by": "ingle",
        **({} if one.context_tokens is None else {"max_model_len": one.context_tokens}),
    }
