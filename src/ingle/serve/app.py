"""Owns the application: the dialects over one rack of models, and who stands before them.

A request passes the journal, the check of its origin, of its key and of its size, in this order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ingle import __version__
from ingle.errors import IngleError
from ingle.serve import house, mistake, tokens
from ingle.serve.anthropic import routes as anthropic
from ingle.serve.body import BodyLimit
from ingle.serve.body_type import BodyType
from ingle.serve.house import Life
from ingle.serve.journal import Journal
from ingle.serve.keys import KeyCheck, Keys
from ingle.serve.metrics import Metrics
from ingle.serve.ollama import routes as ollama
from ingle.serve.openai import chat, completions, models
from ingle.serve.origin import Neighbours, OriginCheck
from ingle.serve.rack import Rack
from ingle.serve.recall import Recall
from ingle.serve.responses import routes as responses
from ingle.serve.responses.store import ResponseStore


@dataclass(frozen=True)
class Doors:
    """Who is let in: by key, from which pages. log_prompts: bodies are written to the log."""

    keys: Keys = field(default_factory=Keys)
    neighbours: Neighbours = field(default_factory=Neighbours)
    log_prompts: bool = False


def create_app(
    rack: Rack,
    life: Life | None = None,
    doors: Doors | None = None,
    responses_path: Path | None = None,
) -> FastAPI:
    """The application. life: ends when a client asks for it; doors: open ones if left out.

    responses_path: where responses are kept across restarts; None: in memory.
    """
    life, doors, metrics = life or Life(), doors or Doors(), Metrics(rack)
    rack.count_with(metrics.meter)
    store, recall = ResponseStore(responses_path), Recall()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tending = asyncio.create_task(rack.tend())
        yield
        tending.cancel()
        await rack.close()
        store.close()

    app = FastAPI(
        title="ingle", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    for kind in (RequestValidationError, HTTPException, IngleError, Exception):
        app.add_exception_handler(kind, mistake.respond_to_any)
    app.add_middleware(BodyType)  # the last one added comes first
    app.add_middleware(BodyLimit)
    app.add_middleware(KeyCheck, keys=doors.keys)
    app.add_middleware(OriginCheck, neighbours=doors.neighbours)
    app.add_middleware(Journal, told=metrics.note, prompts=doors.log_prompts)
    app.include_router(chat.router(rack, recall))
    app.include_router(completions.router(rack))
    app.include_router(models.router(rack))
    app.include_router(responses.router(rack, recall, store))
    app.include_router(tokens.router(rack))
    app.include_router(ollama.router(rack, recall))
    app.include_router(anthropic.router(rack, recall))
    app.include_router(house.router(rack, life, metrics))
    return app
