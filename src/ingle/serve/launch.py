"""Owns a server's life: its address, its start, its end when it is asked to or interrupted.

An end is graceful: no new connection is taken, running answers get some seconds, what is not done
by then ends with an error that says why, models are freed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from ingle.errors import IngleError
from ingle.serve.app import Doors, create_app
from ingle.serve.files import raise_file_limit
from ingle.serve.house import Life
from ingle.serve.keys import is_loopback
from ingle.serve.rack import Rack
from ingle.serve.wire import SILENT_S, limited

_LAST_S = 5  # for what was cut short to be told so
_UNREAD_BYTES = 64 << 10  # of an answer that the system keeps for a client; more than enough
_OTHER_FILES = 200  # models, logs, libraries: beside connections
_log = logging.getLogger("ingle.server")


@dataclass(frozen=True)
class Address:
    """Where to listen, and who is let in there. grace_s: that running answers get at the end.

    open_to_all: an address that others reach needs no key.
    """

    host: str
    port: int
    doors: Doors = field(default_factory=Doors)
    grace_s: float = 10.0
    open_to_all: bool = False

    def check(self) -> None:
        """Raise IngleError for an address that strangers reach and nothing guards."""
        if not (self.open_to_all or self.doors.keys or is_loopback(self.host)):
            rule = f"an address that others reach needs a key, but got {self.host} and none"
            raise IngleError("--host", rule, "--api-key KEY, or --no-auth to let everybody in")


def serve(
    rack: Rack,
    address: Address,
    ready: Callable[[str], None],
    responses_path: Path | None = None,
) -> None:
    """Serves until interrupted. ready: told the URL once connections are taken.

    responses_path: where responses of OpenAI's API are kept across restarts; None: in memory.
    Raises IngleError for an address that cannot be had, or not without a key.
    """
    address.check()
    listening = _listen(address.host, address.port)
    host, port = listening.getsockname()[:2]
    life = Life()
    config = uvicorn.Config(
        create_app(rack, life, address.doors, responses_path),
        http=limited(max(64, raise_file_limit() - _OTHER_FILES)),
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=round(SILENT_S),
        timeout_graceful_shutdown=round(address.grace_s) + _LAST_S,
        server_header=False,
    )
    server = _Server(config, rack, life, address.grace_s)
    shown = f"[{host}]" if ":" in host else host
    ready(f"http://{shown}:{port}")
    with listening, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Cuts answers short that are not done when their grace is over."""

    def __init__(self, config: uvicorn.Config, rack: Rack, life: Life, grace_s: float) -> None:
        super().__init__(config)
        self._rack, self._life, self._grace_s = rack, life, grace_s
        life.leave = self._leave

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Waits for answers, and then for those that were cut."""
        self._life.leaving = True
        cut = asyncio.get_running_loop().call_later(self._grace_s, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def _leave(self) -> None:
        self.should_exit = True

    def _cut(self) -> None:
        if self.server_state.tasks:
            _log.warning("answers that were not done in %g s were cut short", self._grace_s)
        self._rack.cut_short()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)
        listening.bind(place)
        listening.listen(1024)
        listening.setblocking(False)
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or error
        rule = f"the address must be free and this machine's, but got {host}:{port}: {said}"
        hint = "another server may run there: choose another --port"
        raise IngleError("--host", rule, hint) from None
    return listening
