"""``ingle ps``: owns the list of models that a server has, as the terminal shows it."""

from __future__ import annotations

import json
from typing import Any

from ingle.cli.server_call import ask

_WIDTHS = {"NAME": 28, "STATE": 8, "MEMORY": -10, "CONTEXT": -9, "RUNNING": -8, "WAITING": -8}
_GIB = 1 << 30


def ps(as_json: bool) -> None:
    """Print the models and what they are doing."""
    models = ask("GET", "/ingle/status")["models"]
    if as_json:
        print(json.dumps(models, ensure_ascii=False))
        return
    print(_line([*_WIDTHS, "UNTIL"]))
    for one in models:
        memory = f"{one['memory_bytes'] / _GIB:.2f} GiB" if one["memory_bytes"] else ""
        numbers = [str(one.get(name, "")) for name in ("context", "running", "waiting")]
        state = "loaded" if one["loaded"] else "not yet"
        print(_line([one["name"], state, memory, *numbers, until(one)]))


def until(model: dict[str, Any]) -> str:
    """When a model goes if nobody asks for it.

    >>> until({"loaded": True, "users": 0, "running": 0, "expires_s": 299.6})
    '4m59s'
    """
    if not model["loaded"]:
        return ""
    if model["users"] or model.get("running") or model.get("waiting"):
        return "in use"
    if model["expires_s"] is None:
        return "it is stopped"
    minutes, seconds = divmod(int(model["expires_s"]), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def _line(cells: list[str]) -> str:
    """Cells in their columns; a negative width is on the right."""
    widths = [*_WIDTHS.values(), 0]
    padded = (
        cell.rjust(-width) if width < 0 else cell.ljust(width)
        for cell, width in zip(cells, widths, strict=True)
    )
    return "  ".join(padded).rstrip()
