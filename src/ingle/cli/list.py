"""``ingle list``: owns how models are listed."""

from __future__ import annotations

import json

from ingle import hub
from ingle.cli.layout import table, width_of_stdout
from ingle.cli.wording import printable
from ingle.hub.inventory import Listing
from ingle.hub.progress import as_size


def show(as_json: bool = False) -> None:
    """Print models as columns: name, size, who keeps it ("-": not here), what it is."""
    models = hub.listing()
    if as_json:
        print(json.dumps([_object(model) for model in models], ensure_ascii=False))
        return
    rows = [("NAME", "SIZE", "HERE", "WHAT IT IS")]
    for model in models:
        size = as_size(model.file_bytes) if model.file_bytes else "-"
        packed = model.packed_bytes
        about = [model.summary, f"packed: {as_size(packed)}" if packed else ""]
        what = ", ".join(filter(None, about))
        rows.append((printable(model.name, 120), size, model.owner or "-", what))
    print(*table(rows, width_of_stdout()), sep="\n")


def _object(model: Listing) -> dict[str, str | int | None]:
    return {
        "name": model.name,
        "summary": model.summary,
        "bytes": model.file_bytes,
        "path": None if model.path is None else str(model.path),
        "owner": model.owner or None,
        "packed_bytes": model.packed_bytes,
    }
