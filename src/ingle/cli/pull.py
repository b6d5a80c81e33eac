"""``ingle pull NAME``."""

from __future__ import annotations

from ingle import hub


def pull(name: str) -> None:
    """Fetch the model `name` and print its path; progress goes to stderr."""
    print(hub.pull(name))
