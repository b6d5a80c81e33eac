"""``ingle pull NAME``."""

from __future__ import annotations

from ingle import hub


def pull(name: str) -> None:
    """Bring the newest of the model `name` here and print its path."""
    print(hub.pull(name))
