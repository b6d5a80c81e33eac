"""``/api/embed``, ``push``, ``blobs``: owns what of Ollama's API is not here, said plainly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.exceptions import HTTPException

_ABSENT = (
    ("POST", "/api/embed", "there are no embeddings: ingle's models generate text"),
    ("POST", "/api/embeddings", "there are no embeddings: ingle's models generate text"),
    ("POST", "/api/push", "models are not published from here: upload files with `hf upload`"),
    ("POST", "/api/blobs/{digest}", "files are not taken by HTTP: `ingle create` names them"),
    ("HEAD", "/api/blobs/{digest}", "files are not taken by HTTP: `ingle create` names them"),
)


def router() -> APIRouter:
    """The routes, each of which answers 400."""
    routes = APIRouter(tags=["Ollama"])
    for method, path, rule in _ABSENT:
        routes.add_api_route(path, _refusing(rule), methods=[method])
    return routes


def _refusing(rule: str) -> Callable[[], Awaitable[None]]:
    async def refuse() -> None:
        raise HTTPException(400, rule)

    refuse.__doc__ = f"Not here: {rule}."
    return refuse
