"""``ingle rm NAME...``."""

from __future__ import annotations

from collections.abc import Sequence

from ingle import hub
from ingle.hub.progress import as_size


def rm(names: Sequence[str]) -> None:
    """Remove models from this machine; the first that cannot be ends it."""
    for name in names:
        freed_bytes = hub.remove(name)
        freed = f": {as_size(freed_bytes)} free again" if freed_bytes else ""
        print(f"removed {name}{freed}")
