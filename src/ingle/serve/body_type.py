"""Owns what a body is taken for: JSON, whatever its Content-Type says, as Ollama takes it.

curl says ``application/x-www-form-urlencoded`` of whatever follows -d. Pages of strangers may send
such types without asking first; to refuse these is `origin`'s. It does not know what bodies say.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

_NAME, _JSON = b"content-type", b"application/json"


class BodyType:
    """Tells the routes behind it that bodies are JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http":
            others = [(name, value) for name, value in scope["headers"] if name.lower() != _NAME]
            scope["headers"] = [*others, (_NAME, _JSON)]
        await self._app(scope, receive, send)
