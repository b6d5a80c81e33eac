"""``ingle rm NAME``."""

from __future__ import annotations

from ingle import hub
from ingle.hub.progress import as_size


def rm(name: str) -> None:
    """Remove the model `name` from this machine."""
    freed_bytes = hub.remove(name)
    print(f"removed {name}: {as_size(freed_bytes)} free again")
