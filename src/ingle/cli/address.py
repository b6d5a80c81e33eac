"""Owns how a server's address is written."""

from __future__ import annotations

from ingle.errors import IngleError


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port``, ``host``, ``:port`` or a URL, as OLLAMA_HOST may have it.

    >>> split_address("http://127.0.0.1:8080")
    ('127.0.0.1', 8080)
    >>> split_address("[::1]")
    ('::1', 11434)
    """
    bare = text.strip().removeprefix("http://").rstrip("/")
    if bare.startswith("["):
        host, _, rest = bare[1:].partition("]")
        port = rest.removeprefix(":")
    elif bare.count(":") > 1:
        host, port = bare, ""
    else:
        host, _, port = bare.partition(":")
    if port and not (port.isdigit() and int(port) < 1 << 16):
        raise IngleError("host", f"a port must be from 0 to 65535, but got {port!r:.40}")
    return host or "127.0.0.1", int(port or 11434)
