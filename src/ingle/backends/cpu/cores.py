"""Owns how many threads this process may use: affinity, then its control groups' CPU quotas.

Both versions of Linux's cgroups are read, from this process's own group upwards; the least holds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """At least 1. root: where `proc` and `sys` lie."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    quota = cpu_quota(root)
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs that control groups grant this process, perhaps a fraction; None without a limit."""
    mount = root / "sys/fs/cgroup"
    return min(filter(None, map(_quota, _groups(root, mount))), default=None)


def _groups(root: Path, mount: Path) -> Iterator[Path]:
    """Folders of the groups around this process, of both versions; the mounts themselves last."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        parts = [part for part in group.split("/") if part not in ("", "..")]
        above = ["/".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
        if number == "0" and not controllers:
            yield from (mount / path for path in above)
            yield from (mount / "unified" / path for path in above)
        elif "cpu" in controllers.split(","):
            yield from (mount / "cpu" / path for path in above)
    yield from (mount, mount / "unified", mount / "cpu")


def _quota(group: Path) -> float | None:
    """CPUs of one group: cpu.max of version 2, else cpu.cfs_quota_us of version 1."""
    try:
        quota, period = _text(group / "cpu.max").split()
        return None if quota == "max" else int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        pass
    try:
        quota_us = int(_text(group / "cpu.cfs_quota_us"))
        period_us = int(_text(group / "cpu.cfs_period_us"))
        return quota_us / period_us if quota_us > 0 and period_us > 0 else None
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
