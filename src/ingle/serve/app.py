"""Owns the application: the dialects over one rack of models, and how mistakes are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from ingle import __version__
from ingle.errors import IngleError
from ingle.serve import house, mistake, openai_chat, openai_models
from ingle.serve.rack import Rack

MAX_BODY_BYTES = 32 << 20


def create_app(rack: Rack, leave: Callable[[], None] = lambda: None) -> FastAPI:
    """The application. leave: called when a client asks that the server ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await rack.close()

    app = FastAPI(title="ingle", version=__version__, lifespan=lifespan)
    for kind in (RequestValidationError, HTTPException, IngleError, Exception):
        app.add_exception_handler(kind, mistake.respond_to_any)
    app.add_middleware(BodyLimit)
    app.include_router(openai_chat.router(rack))
    app.include_router(openai_models.router(rack))
    app.include_router(house.router(rack, leave))
    return app


class BodyLimit:
    """Refuses bodies that say, or turn out, to be too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        seen = 0

        async def counted() -> dict[str, object]:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY_BYTES:
                raise HTTPException(413, f"a body has at most {MAX_BODY_BYTES} bytes")
            return dict(message)

        if said.isdigit() and int(said) > MAX_BODY_BYTES:
            rule = f"a body has at most {MAX_BODY_BYTES} bytes, but got {int(said)}"
            refused = mistake.respond(scope["path"], HTTPException(413, rule))
            await refused(scope, receive, send)
            return
        await self._app(scope, counted, send)
