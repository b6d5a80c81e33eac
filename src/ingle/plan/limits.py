"""Owns how much memory this process may use: the machine's or its control group's, the lesser.

Both versions of Linux's cgroups are read; elsewhere the machine's memory counts. It does not know
what the memory is for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingle.errors import IngleError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class MemoryLimit:
    """nbytes: that may be used; None where nobody can tell. origin: who says so."""

    nbytes: int | None
    origin: str


def memory_limit(root: Path = Path("/")) -> MemoryLimit:
    """The least of the machine's memory and the limits of the control groups around this process.

    root: where `proc` and `sys` lie.
    """
    found = [
        MemoryLimit(nbytes, origin)
        for nbytes, origin in (
            (_machine_bytes(root), "the machine's memory"),
            *((nbytes, "the control group's limit") for nbytes in _cgroup_bytes(root)),
        )
        if nbytes is not None
    ]
    return min(found, key=lambda limit: limit.nbytes or 0, default=MemoryLimit(None, "unknown"))


def available_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that could be taken now without swapping; None where the system does not tell.

    root: where `proc` lies.
    """
    return _meminfo(root, "MemAvailable")


def parse_size(text: str, where: str) -> int:
    """Bytes of `8GiB`, `16 GB`, `500M` or a plain number; IngleError naming `where`."""
    match = _SIZE.fullmatch(text.strip()[:40])
    if match is None or not float(match[1]):
        rule = f"size must be a number with a unit, but got {text!a:.40}"
        raise IngleError(where, rule, "for example 8GiB, or 24 GB")
    unit = match[2].lower()
    return round(float(match[1]) * (_BINARY[unit] if match[3] and unit else _UNITS[unit]))


def _meminfo(root: Path, wanted: str) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == wanted and value.split()[:1] and value.split()[0].isdigit():
            return int(value.split()[0]) * 1024
    return None


def _machine_bytes(root: Path) -> int | None:
    found = _meminfo(root, "MemTotal")
    if found is not None or root != Path("/"):
        return found
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _cgroup_bytes(root: Path) -> Iterator[int]:
    """Limits of version 2 (memory.max) and 1 (memory.limit_in_bytes), from the group upwards."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            yield from _upwards(mount, group, "memory.max")
            yield from _upwards(mount / "unified", group, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _upwards(mount / "memory", group, "memory.limit_in_bytes")


def _upwards(mount: Path, group: str, name: str) -> Iterator[int]:
    parts = [part for part in group.split("/") if part not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        value = _text(mount.joinpath(*parts[:depth], name)).strip()
        if value.isdigit():
            yield int(value)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
