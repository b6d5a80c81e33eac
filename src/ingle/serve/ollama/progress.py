"""Owns long work told in lines: what a thread reports, as statuses of Ollama's, to one client.

A client that goes away ends the work at its next report; what was fetched stays for the next try.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from ingle.hub.progress import Progress
from ingle.serve import mistake, ndjson
from ingle.serve.connection import unless_gone
from ingle.serve.json_body import JsonBody
from ingle.serve.ollama import error
from ingle.serve.refusal import refusal_of

_PAUSE_S = 0.1  # between two lines about one stage
_DONE = {"status": "success"}

Work = Callable[[Progress], object]


class LeftError(Exception):
    """Nobody waits for the work any more."""


class Lines:
    """Progress (`ingle.hub.progress`) as objects in a queue of the event loop."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[dict[str, Any] | BaseException | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._left = threading.Event()
        self._stage: dict[str, Any] = {}
        self._total, self._spoke = 0, 0.0

    def stage(self, label: str, total_bytes: int) -> None:
        """A stage begins; its digest tells its lines from those of others."""
        self._check()
        digest = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()
        self._stage = {"status": label, "digest": f"sha256:{digest}", "total": total_bytes}
        self._total, self._spoke = total_bytes, 0.0
        self._put(dict(self._stage))

    def at(self, done_bytes: int) -> None:
        """So many bytes are done; told at most every so often, and at the end."""
        self._check()
        moment = time.monotonic()
        if moment - self._spoke >= _PAUSE_S or done_bytes >= self._total:
            self._spoke = moment
            self._put({**self._stage, "completed": done_bytes})

    def note(self, text: str) -> None:
        """One line."""
        self._check()
        self._put({"status": text})

    def leave(self) -> None:
        """The next report ends the work."""
        self._left.set()

    def end(self, met: BaseException | None = None) -> None:
        """The work is over."""
        self._put(met)

    def _check(self) -> None:
        if self._left.is_set():
            raise LeftError

    def _put(self, item: dict[str, Any] | BaseException | None) -> None:
        self._loop.call_soon_threadsafe(self.told.put_nowait, item)


async def respond(work: Work, streams: bool, request: Request) -> Response:
    """The response to a request for `work`, which runs on a thread of its own.

    A mistake that is met before the first line is an HTTP error; later ones are a line.
    """
    lines = Lines()
    task = asyncio.create_task(asyncio.to_thread(_run, work, lines))
    first = await lines.told.get()
    if isinstance(first, Exception):
        return mistake.respond(request.url.path, first)
    if streams:
        stream = _stream(first, lines, task)
        return StreamingResponse(stream, headers=ndjson.HEADERS, media_type=ndjson.MEDIA_TYPE)
    try:
        last = await unless_gone(request, _last(first, lines))
    finally:
        lines.leave()
    if isinstance(last, Exception):
        return mistake.respond(request.url.path, last)
    return Response(status_code=499) if last is None else JsonBody(last)


async def _last(item: Any, lines: Lines) -> Any:
    """What all ends in: success, or what was met."""
    while isinstance(item, dict):
        item = await lines.told.get()
    return _DONE if item is None else item


async def _stream(first: Any, lines: Lines, task: asyncio.Task[None]) -> AsyncIterator[bytes]:
    """task: held, so that it is not forgotten while it runs."""
    try:
        item = first
        while isinstance(item, dict):
            yield ndjson.line(item)
            item = await lines.told.get()
        told = _DONE if item is None else error.body_of(refusal_of(item))
        yield ndjson.line(told)
        await task
    finally:
        lines.leave()


def _run(work: Work, lines: Lines) -> None:
    try:
        work(lines)
    except LeftError:
        return
    except Exception as met:
        lines.end(met)
    else:
        lines.end()
