"""``ingle cp SOURCE NAME``."""

from __future__ import annotations

from ingle import hub


def cp(source: str, name: str) -> None:
    """Give a model another name; its files are not copied."""
    hub.copy(source, name)
    print(f"{name} is {source}")
