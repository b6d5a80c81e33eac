"""``ingle config``: owns how settings are shown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ingle import config
from ingle.cli.layout import table, width_of_stdout


def show(as_json: bool = False) -> None:
    """Print every setting, its value in force, and who said so."""
    found = config.in_force()
    if as_json:
        told = {
            one.setting.name: {"value": _plain(one.value), "origin": one.origin} for one in found
        }
        print(json.dumps({"file": str(config.path()), "settings": told}))
        return
    rows = [("SETTING", "VALUE", "FROM", "WHAT IT IS")]
    rows += [
        (one.setting.name, _shown(one.value), one.origin, one.setting.meaning) for one in found
    ]
    print(*table(rows, width_of_stdout()), sep="\n")
    state = "" if config.path().exists() else " (not there yet)"
    print(f"\nfile: {config.path()}{state}")


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return -1
    return str(value) if isinstance(value, Path) else value


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "for ever" if math.isinf(value) else f"{value:g} s"
    return str(value)
