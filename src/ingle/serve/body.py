"""Owns how large request bodies may be, one and all together, and how long they may take to come.

It does not know what they say.
"""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingle.serve import mistake

MAX_BYTES = 16 << 20  # of one body: some millions of tokens
MAX_ALL_BYTES = 64 << 20  # of those in work: JSON takes up to twenty times as much, once read
PATIENCE_S = 60.0  # for a body, and more for a long one:
LEAST_BYTES_PER_S = 64 << 10


class BodyLimit:
    """Refuses bodies that are too large, come too slowly, or are too many at once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._bytes = 0  # of all bodies in work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and (len(said) > 18 or int(said) > MAX_BYTES):
            refused = _too_large(said.decode()[:20])
            await mistake.respond(scope["path"], refused)(scope, receive, send)
            return
        one = _Body(receive)

        async def counted() -> Message:
            message = await one.next()
            self._bytes += len(message.get("body", b""))
            if self._bytes > MAX_ALL_BYTES:
                said = f"requests in work have at most {MAX_ALL_BYTES} bytes together"
                raise HTTPException(503, said, {"Retry-After": "1"})
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._bytes -= one.nbytes


class _Body:
    """One body as it comes."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._begun = asyncio.get_running_loop().time()
        self._whole = False
        self.nbytes = 0

    async def next(self) -> Message:
        """The next message: a piece, or the client's leaving. Raises HTTPException."""
        if self._whole:  # it is the client's leaving that is waited for
            return await self._receive()
        ends = self._begun + PATIENCE_S + self.nbytes / LEAST_BYTES_PER_S
        try:
            async with asyncio.timeout_at(ends):
                message = await self._receive()
        except TimeoutError:
            headers = {"Connection": "close"}
            raise HTTPException(
                408, "a body must come in time, but got too slow", headers
            ) from None
        self.nbytes += len(message.get("body", b""))
        self._whole = message["type"] != "http.request" or not message.get("more_body")
        if self.nbytes > MAX_BYTES:
            raise _too_large("more")
        return message


def _too_large(got: str) -> HTTPException:
    rule = f"a body has at most {MAX_BYTES} bytes, but got {got}"
    return HTTPException(413, rule, {"Connection": "close"})
