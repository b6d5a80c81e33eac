"""``ingle stop``: owns ending a server, or unloading one of its models."""

from __future__ import annotations

from ingle.cli.server_call import ask


def stop(name: str | None) -> None:
    """Unload the model `name`; without one, end the server."""
    ask("POST", "/ingle/stop", {"model": name})
    print(f"stopped {name}" if name else "the server ends")
