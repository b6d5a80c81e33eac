"""Owns what was measured on this machine: rates, and how far plans were off; one JSON file each.

Damaged or foreign files count as nothing measured. It does not measure, and does not know models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingle.plan.kernels import Kernels, from_object

RATES_FILE = "rates.json"
CORRECTIONS_FILE = "corrections.json"
_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Rates:
    """Of all usable cores together; None where it was not measured.

    runtime_bytes: of the program's process before any model. header_bytes_per_s,
    touch_bytes_per_s: see `Machine`.
    """

    read_bytes_per_s: float | None = None
    int8_ops_per_s: float | None = None
    disk_bytes_per_s: float | None = None
    kernels: Kernels | None = None
    runtime_bytes: float | None = None
    header_bytes_per_s: float | None = None
    touch_bytes_per_s: float | None = None


@dataclass(frozen=True)
class Corrections:
    """Measured time divided by planned time, of this machine's last runs; 1 where none ran."""

    decode: float = 1.0
    prefill: float = 1.0
    load: float = 1.0


def read_rates(folder: Path) -> Rates:
    """What `ingle doctor --measure` stored."""
    found = _object(folder / RATES_FILE)
    return Rates(
        _positive(found.get("memory_read_bytes_per_s")),
        _positive(found.get("int8_ops_per_s")),
        _positive(found.get("disk_read_bytes_per_s")),
        from_object(found.get("kernel_rates")),
        _positive(found.get("runtime_bytes")),
        _positive(found.get("header_bytes_per_s")),
        _positive(found.get("touch_bytes_per_s")),
    )


def add_rates(folder: Path, found: Mapping[str, Any]) -> Path:
    """Store what was measured beside what was stored before; the path."""
    return _write(folder / RATES_FILE, {**_object(folder / RATES_FILE), **found})


def read_corrections(folder: Path) -> Corrections:
    """What `ingle plan --check` stored. A factor beyond 1/10 and 10 is no correction but an error,
    and left out."""
    found = _object(folder / CORRECTIONS_FILE)
    factors = {name: _positive(found.get(name)) for name in ("decode", "prefill", "load")}
    return Corrections(**{n: f for n, f in factors.items() if f is not None and 0.1 <= f <= 10})


def write_corrections(folder: Path, corrections: Corrections) -> Path:
    """Store them, whole or not at all; the path."""
    return _write(folder / CORRECTIONS_FILE, vars(corrections))


def _write(path: Path, found: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".new")
    staged.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    staged.replace(path)
    return path


def _object(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _FILE_BYTES:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _positive(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) and value > 0 else None
