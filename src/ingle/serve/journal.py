"""Owns the line that the log has for each request, and where an exchange begins and ends.

Prompts and answers stay out of the log unless they are asked for. It does not know dialects.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingle.llm import AsyncStream
from ingle.llm.async_stream import witness
from ingle.serve.exchange import Exchange, current

_log = logging.getLogger("ingle.requests")
_QUIET = frozenset({"/health", "/ready", "/metrics", "/ingle/status"})  # asked again and again
_MAX_BODY = 1 << 16  # bytes of a body that the log shows

Told = Callable[["Record"], None]


class Record:
    """One request as it goes: times in seconds, status 0 before there is one."""

    def __init__(self, scope: Scope) -> None:
        self.method, self.path = str(scope["method"]), str(scope["path"])
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        self.exchange = Exchange((scope.get("client") or ("",))[0], headers)
        self.streams: list[AsyncStream] = []
        self.status = 0
        self.seconds = 0.0
        self.first_s: float | None = None  # until the first byte of the body
        self.route = "other"
        self.body = bytearray()

    def line(self) -> str:
        """What the log says of it, on one line."""
        said: list[tuple[str, Any]] = [("model", self.exchange.model)]
        progress = [p for p in (stream.progress for stream in self.streams) if p is not None]
        if progress:
            first = progress[0]
            tokens = sum(p.completion_tokens for p in progress)
            decode_s = max(p.decode_s for p in progress)
            reasons = {str(p.finish_reason) for p in progress}
            said += [("prompt", first.prompt_tokens), ("cached", first.cached_tokens)]
            said += [("answer", tokens), ("end", ",".join(sorted(reasons)))]
            said += [("prompt_s", f"{first.prompt_s:.3f}"), ("decode_s", f"{decode_s:.3f}")]
        if self.first_s is not None:
            said.append(("first_s", f"{self.first_s:.3f}"))
        said += [("total_s", f"{self.seconds:.3f}"), ("client", self.exchange.client)]
        shown = " ".join(f"{name}={_plain(value)}" for name, value in said if value != "")
        return f"{self.method} {_plain(self.path)} {self.status or 499} {shown}"


class Journal:
    """Begins an exchange for each request, ends it, and writes its line.

    told: of each that is over. prompts: bodies are written too.
    """

    def __init__(self, app: ASGIApp, told: Told, prompts: bool = False) -> None:
        self._app, self._told, self._prompts = app, told, prompts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record, began = Record(scope), perf_counter()

        async def heard() -> Message:
            message = await receive()
            if self._prompts and len(record.body) < _MAX_BODY:
                record.body += message.get("body", b"")[:_MAX_BODY]
            return message

        async def said(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            elif record.first_s is None and message.get("body"):
                record.first_s = perf_counter() - began
            await send(message)

        in_exchange, in_witness = current.set(record.exchange), witness.set(record.streams.append)
        try:
            await self._app(scope, heard, said)
        except Exception:
            record.status = record.status or 500
            raise
        finally:
            current.reset(in_exchange)
            witness.reset(in_witness)
            record.seconds = perf_counter() - began
            record.route = getattr(scope.get("route"), "path", "other")
            self._end(record)

    def _end(self, record: Record) -> None:
        for stream in record.streams:
            stream.cancel()  # whoever asked is gone
        record.exchange.end()
        self._told(record)
        level = logging.DEBUG if record.path in _QUIET else logging.INFO
        _log.log(level, "%s", record.line())
        if record.body:
            _log.log(level, "body %s", json.dumps(record.body.decode(errors="replace")))


def _plain(value: Any) -> str:
    """Without what would break a line, or paint a terminal."""
    text = str(value)[:200]
    return text if text.isprintable() and " " not in text else json.dumps(text)
