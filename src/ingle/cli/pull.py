"""``ingle pull NAME``."""

from __future__ import annotations

from ingle import hub


def pull(name: str, pack: bool = False) -> None:
    """Bring the newest of the model `name` here and print its path.

    pack: make its packed copy, and remove what ingle fetched for it.
    """
    path = hub.pull(name)
    if pack:
        from ingle.hub.packing import replace

        path = replace(name, path)
    print(path)
