"""Owns which web pages may use the server, and by what names of its own it is asked.

A page of another origin is let in only if it is known (CORS, https://fetch.spec.whatwg.org), and a
name that a stranger's DNS may point here is refused. It does not know keys.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingle.errors import IngleError
from ingle.serve import mistake

_APPS = ("app", "file", "tauri", "vscode-file", "vscode-webview")  # schemes no web page has
_METHODS = "GET, HEAD, POST, DELETE, OPTIONS"
_PREFLIGHT_S = 600
_EXPOSED = "Retry-After"


@dataclass(frozen=True)
class Neighbours:
    """origins: of pages beside this machine's own ones; ``*`` means all. hosts: names of this
    server; None checks none (who has keys need not)."""

    origins: frozenset[str] = frozenset()
    hosts: frozenset[str] | None = None

    @classmethod
    def of(cls, origins: Iterable[str], hosts: Iterable[str] | None) -> Neighbours:
        """Checked. Raises IngleError for what is no origin."""
        clean = [one.strip().rstrip("/").lower() for one in origins if one.strip()]
        for one in clean:
            parts = urlsplit(one) if one != "*" else None
            if parts is not None and not (parts.scheme and parts.netloc and not parts.path):
                rule = f"an origin must read like https://example.org, but got {one!a:.60}"
                raise IngleError("--cors-origin", rule, "* is every origin")
        names = None if hosts is None else frozenset(host.lower() for host in hosts)
        return cls(frozenset(clean), names)

    def admits(self, origin: str, host: str) -> bool:
        """Whether pages of `origin` may ask a server that they call `host` (``name:port``)."""
        lower = origin.lower()
        if "*" in self.origins or lower in self.origins:
            return True
        parts = urlsplit(lower)
        if parts.scheme in _APPS:
            return True
        return parts.netloc == host.lower() or _is_here(_name(parts.netloc))

    def knows(self, host: str) -> bool:
        """Whether the server goes by the name of a Host header."""
        if self.hosts is None or not host:
            return True
        name = _name(host.lower())
        return _is_here(name) or _is_address(name) or name in self.hosts


def own_names() -> set[str]:
    """Names by which this machine is known to its network."""
    name = socket.gethostname().lower()
    return {name, f"{name}.local", f"{name.partition('.')[0]}.local"}


class OriginCheck:
    """Refuses strangers and tells browsers which pages may read answers."""

    def __init__(self, app: ASGIApp, neighbours: Neighbours) -> None:
        self._app, self._neighbours = app, neighbours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin", "")
        refused = self._refused(host, origin)
        if refused is not None:
            await mistake.respond(scope["path"], refused)(scope, receive, send)
        elif not origin:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _preflight(origin, headers.get(b"access-control-request-headers", ""), send)
        else:
            await self._app(scope, receive, _allowing(origin, send))

    def _refused(self, host: str, origin: str) -> HTTPException | None:
        if not self._neighbours.knows(host):
            said = f"the server must be called by a name of its own, but got {host!r:.80}"
            return HTTPException(403, f"{said}; --allow-host adds one")
        if origin and not self._neighbours.admits(origin, host):
            said = f"a page must be of an origin that is let in, but got {origin!r:.80}"
            return HTTPException(403, f"{said}; --cors-origin adds one")
        return None


def _allowing(origin: str, send: Send) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = _EXPOSED
            headers.add_vary_header("Origin")
        await send(message)

    return told


async def _preflight(origin: str, wanted: str, send: Send) -> None:
    said = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": wanted,
        "Access-Control-Max-Age": str(_PREFLIGHT_S),
        "Vary": "Origin",
    }
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in said.items()]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _name(host: str) -> str:
    """Of ``name:port`` or ``[address]:port``, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_here(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return _is_address(name) and ip_address(name).is_loopback


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
