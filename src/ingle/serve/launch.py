"""Owns a server's life: its address, its start, its end when it is asked to or interrupted.

An end is graceful: no new connection is taken, running answers get some seconds, models are freed.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import uvicorn

from ingle.errors import IngleError
from ingle.serve.app import create_app
from ingle.serve.rack import Rack

GRACE_S = 5  # that running answers get at the end
_IDLE_S = 75  # that a connection without a request stays


def serve(rack: Rack, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serves until interrupted. ready: told the URL once connections are taken.

    Raises IngleError for an address that cannot be had.
    """
    listening = _listen(host, port)
    address, actual = listening.getsockname()[:2]
    server: uvicorn.Server | None = None

    def leave() -> None:
        if server is not None:
            server.should_exit = True

    config = uvicorn.Config(
        create_app(rack, leave),
        log_level="warning",
        access_log=False,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )
    server = uvicorn.Server(config)
    shown = f"[{address}]" if ":" in address else address
    ready(f"http://{shown}:{actual}")
    with listening, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(1024)
        listening.setblocking(False)
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or error
        rule = f"the address must be free and this machine's, but got {host}:{port}: {said}"
        hint = "another server may run there: choose another --port"
        raise IngleError("--host", rule, hint) from None
    return listening
