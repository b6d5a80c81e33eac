"""Owns who may use the server: keys, where requests carry them, and what needs none.

Keys are kept as digests and compared in constant time. It does not know what is asked for.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from ingle.errors import IngleError
from ingle.serve import exchange, mistake

_OPEN = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
_OWN = (  # what ends a server, and what changes which models are on its machine
    *("/ingle/", "/api/pull", "/api/create", "/api/copy", "/api/delete"),
)
_HEADERS = (b"x-api-key", b"api-key")
_MAX_FILE_BYTES = 1 << 20
_SHOWN = 12  # hexadecimal digits of a digest that name a holder


class Keys:
    """The keys that open a server; none of them: it is open."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def __len__(self) -> int:
        return len(self._digests)

    def holder(self, carried: Iterable[bytes]) -> str | None:
        """A name for whoever carries one of the keys; None if nobody does."""
        found = None
        for key in carried:
            digest = _digest(key)
            for known in self._digests:  # all of them, whichever it is
                if hmac.compare_digest(digest, known):
                    found = digest.hex()[:_SHOWN]
        return found


class KeyCheck:
    """Lets in who carries a key; without keys, everybody but to what only this machine may do."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http":
            refused = self._refused(scope)
            if refused is not None:
                await mistake.respond(scope["path"], refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope) -> HTTPException | None:
        path = scope["path"]
        if not self._keys:
            if path.startswith(_OWN) and not _is_near(scope):
                return HTTPException(403, "without keys this is for the server's own machine alone")
            return None
        holder = self._keys.holder(carried(scope))
        if holder is None and path not in _OPEN:
            said = "a key must be sent as `Authorization: Bearer KEY` or `x-api-key: KEY`"
            return HTTPException(
                401, f"{said}, but got none that fits", {"WWW-Authenticate": "Bearer"}
            )
        around = exchange.current.get()
        if holder is not None and around is not None:
            around.client = holder
        return None


def carried(scope: Scope) -> Iterator[bytes]:
    """The keys that a request carries, in any of the usual headers."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, key = value.partition(b" ")
            if kind.lower() == b"bearer":
                yield key.strip()
        elif name in _HEADERS:
            yield value.strip()


def read_keys(path: Path) -> list[str]:
    """Keys of a file, one a line; empty lines and those that begin with # count for nothing.

    Raises IngleError for a file that cannot be read or has none.
    """
    where = f"--api-key-file {path}"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        lines = [line.strip() for line in data.decode().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "bytes that are no text"
        raise IngleError(where, f"the file must be readable, but got {said}") from None
    keys = [check_key(line, where) for line in lines if line and not line.startswith("#")]
    if not keys or len(data) > _MAX_FILE_BYTES:
        got = "none" if not keys else "more than 1 MiB"
        raise IngleError(where, f"the file must hold keys, one a line, but got {got}")
    return keys


def check_key(key: str, where: str) -> str:
    """`key` without blanks around it. Raises IngleError for one that no header can carry."""
    bare = key.strip()
    if not bare or not bare.isascii() or not bare.isprintable() or " " in bare:
        raise IngleError(where, "a key must be of letters, digits and signs, but got others")
    return bare


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_near(scope: Scope) -> bool:
    client = scope.get("client")
    return client is None or is_loopback(client[0])


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()
