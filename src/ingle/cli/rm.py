"""``ingle rm NAME...``."""

from __future__ import annotations

from collections.abc import Sequence

from ingle import hub
from ingle.cli.layout import broken, width_of_stdout
from ingle.hub.progress import as_size


def rm(names: Sequence[str]) -> None:
    """Remove models from this machine; the first that cannot be ends it."""
    for name in names:
        freed_bytes = hub.remove(name)
        freed = f": {as_size(freed_bytes)} free again" if freed_bytes else ""
        told, width = f"removed {name}{freed}", width_of_stdout()
        print(*(broken(told, width) if width else [told]), sep="\n")
