"""Owns how waiting looks: a bar with an ETA on a terminal, plain lines in a pipe; always stderr.

It does not know what is being waited for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

_LINE_STEP = 0.1  # a plain line for every tenth of the way
_NARROW = 76  # columns that a bar and all its figures need
_LINE_PAUSE_S = 0.5  # and not oftener than this


class Progress(Protocol):
    """Told how far a piece of long work has come."""

    def stage(self, label: str, total_bytes: int) -> None:
        """Begin a stage of `total_bytes`; the one before it is over."""

    def at(self, done_bytes: int) -> None:
        """`done_bytes` of the present stage are done."""

    def note(self, text: str) -> None:
        """Say one line, whatever the stage."""


def as_size(num_bytes: int) -> str:
    """Bytes as people read them, in decimal units: ``98.4 MB``."""
    size, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


class Lines:
    """Progress as plain lines, for pipes and logs."""

    def __init__(self, title: str) -> None:
        self._title = title

    def stage(self, label: str, total_bytes: int) -> None:
        self._label, self._total, self._told = label, max(total_bytes, 1), 0.0
        self._began = self._spoke = time.monotonic()
        self.note(f"{label} ({as_size(total_bytes)})")

    def at(self, done_bytes: int) -> None:
        now, share = time.monotonic(), min(done_bytes / self._total, 1.0)
        if share < self._told + _LINE_STEP or now - self._spoke < _LINE_PAUSE_S:
            return
        self._told, self._spoke = share, now
        left_s = (now - self._began) * (1 - share) / share
        self.note(f"{self._label}: {share:.0%} of {as_size(self._total)}, {left_s:.0f} s left")

    def note(self, text: str) -> None:
        print(f"{self._title}: {text}", file=sys.stderr, flush=True)


class Bar:
    """Progress as one moving bar per stage, under a line that names it, for terminals."""

    def __init__(self, title: str, bar: RichProgress) -> None:
        self._title, self._bar = title, bar
        self._task: TaskID | None = None

    def stage(self, label: str, total_bytes: int) -> None:
        self._finish()
        self.note(f"{label} ({as_size(total_bytes)})")
        self._task = self._bar.add_task("", total=total_bytes)

    def at(self, done_bytes: int) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=done_bytes)

    def note(self, text: str) -> None:
        self._bar.console.print(
            f"{self._title}: {text}", markup=False, highlight=False, soft_wrap=False
        )

    def _finish(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=self._bar.tasks[self._task].total)


@contextmanager
def shown(title: str, told: Progress | None = None) -> Iterator[Progress]:
    """Progress under `title`: to `told`, else in the form that stderr can show."""
    if told is not None:
        yield told
        return
    if not sys.stderr.isatty():
        yield Lines(title)
        return
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    narrow = console.width < _NARROW
    with RichProgress(*_columns(narrow), console=console, expand=narrow) as bar:
        yield Bar(title, bar)


def _columns(narrow: bool) -> tuple[ProgressColumn, ...]:
    """What a bar shows; on a narrow terminal how far, and how long still."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TaskProgressColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    if narrow:
        return TaskProgressColumn(), BarColumn(None), TimeRemainingColumn()
    return (
        TaskProgressColumn(),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
