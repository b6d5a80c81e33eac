"""Owns how many threads this process may use: affinity, then the cgroup's CPU quota (v2, v1)."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """At least 1."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    quota = _quota(_CGROUP)
    return max(1, cores if math.isinf(quota) else min(cores, math.ceil(quota)))


def cpu_quota() -> float | None:
    """CPUs that the control group grants, perhaps a fraction; None without a limit."""
    quota = _quota(_CGROUP)
    return None if math.isinf(quota) else quota


def _quota(cgroup: Path) -> float:
    """CPUs granted by the control group; infinite without a limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((cgroup / "cpu/cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 and period_us > 0 else math.inf
    except (OSError, ValueError):
        return math.inf
