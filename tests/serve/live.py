"""A server in a thread, over true sockets, with its own beginning and end."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from ingle.serve.launch import Address, serve
from ingle.serve.rack import Place, Rack


class Live:
    """url: where it is. thread: ends when the server does."""

    def __init__(self, rack: Rack, **address: Any) -> None:
        self.rack = rack
        self._ready = threading.Event()
        self.url = ""
        self._address = Address("127.0.0.1", 0, **address)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self._ready.wait(60)

    def _run(self) -> None:
        serve(self.rack, self._address, self._tell)

    def _tell(self, url: str) -> None:
        self.url = url
        self._ready.set()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def connect(self, **options: int) -> socket.socket:
        """A bare connection. options: of the socket, such as SO_RCVBUF."""
        made = socket.socket()
        for name, value in options.items():
            made.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        made.settimeout(60)
        made.connect(("127.0.0.1", self.port))
        return made

    def stop(self) -> None:
        """Asks for the end and waits for it."""
        if self.thread.is_alive():
            httpx.post(f"{self.url}/ingle/stop", json={"model": None}, timeout=60)
            self.thread.join(60)


@contextmanager
def living(llm: Any, **address: Any) -> Iterator[Live]:
    """A server of one model, called "scripted"."""
    made = Live(Rack([Place("scripted", lambda: llm, llm)]), **address)
    try:
        yield made
    finally:
        made.stop()
        assert not made.thread.is_alive()


def post(path: str, body: dict[str, Any], **headers: str) -> bytes:
    """A whole request as bytes."""
    data = json.dumps(body).encode()
    usual = {"Host": "localhost", "Content-Type": "application/json"}
    head = "".join(f"{name}: {value}\r\n" for name, value in (usual | headers).items())
    return f"POST {path} HTTP/1.1\r\n{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def read_all(sock: socket.socket) -> bytes:
    """Until the other side closes."""
    found = bytearray()
    while piece := sock.recv(1 << 16):
        found += piece
    return bytes(found)
