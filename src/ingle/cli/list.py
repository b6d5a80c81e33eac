"""``ingle list``."""

from __future__ import annotations

from ingle import hub
from ingle.hub.progress import as_size


def show() -> None:
    """Print the known models as columns: name, size, where it lies, what it is."""
    rows = [("NAME", "SIZE", "HERE", "WHAT IT IS")]
    for model in hub.listing():
        here = "yes" if model.path else "-"
        rows.append((model.name, as_size(model.file_bytes), here, model.summary))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
