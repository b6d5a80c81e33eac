"""Owns the limits that a bench is held against: bytes read from memory, operations, per second.

They come from `benchmarks/roofline`, a program that shares nothing with ingle, where its path is
given, else from the native extension's own loops. It does not know models.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingle.backends.cpu import measure
from ingle.errors import IngleError

_PATIENCE_S = 120  # of one run; it takes a few seconds


@dataclass(frozen=True)
class Limits:
    """Medians, by all threads together. peak_ops_per_s: 8-bit products, two per multiply-add; of
    floats where the processor has no 8-bit ones."""

    read_bytes_per_s: float
    peak_ops_per_s: float


def mean(found: Sequence[Limits]) -> Limits:
    """Of several measurements."""
    return Limits(
        sum(each.read_bytes_per_s for each in found) / len(found),
        sum(each.peak_ops_per_s for each in found) / len(found),
    )


def shown(limit: Limits) -> str:
    """As a person reads it."""
    read, peak = limit.read_bytes_per_s / 1e9, limit.peak_ops_per_s / 1e12
    return f"{read:.1f} GB/s and {peak:.2f} TOPS"


def native(threads: int, isa: str) -> Limits:
    """By ingle's own loops; takes 512 MiB while it runs."""
    read = measure.memory_read(threads)
    return Limits(read.median, measure.int8_peak(threads, isa).median)


def by_roofline(program: Path, threads: int) -> Limits:
    """By the program of that path. Raises IngleError when it does not run, or says other things."""
    command = [str(program), "--threads", str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=True)
        said = json.loads(done.stdout)
        peak = said["int8_ops_per_s"] or said["f32_ops_per_s"]
        return Limits(float(said["read_bytes_per_s"]), float(peak))
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        rule = f"the program must print its measurements as JSON, but got {_said(error)}"
        hint = "build it as benchmarks/roofline/CMakeLists.txt says"
        raise IngleError(str(program), rule, hint) from None


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
