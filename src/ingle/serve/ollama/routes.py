"""Owns all routes of Ollama's API together."""

from __future__ import annotations

from fastapi import APIRouter

from ingle.serve.ollama import absent, chat, generate, making, models
from ingle.serve.rack import Rack
from ingle.serve.recall import Recall


def router(rack: Rack, recall: Recall) -> APIRouter:
    """The routes of this dialect."""
    routes = APIRouter()
    answering = (chat.router(rack, recall), generate.router(rack, recall))
    for part in (*answering, models.router(rack), making.router(rack), absent.router()):
        routes.include_router(part)
    return routes
