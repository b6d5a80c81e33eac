"""Owns how jobs that are counted in pieces tell how far they are: one line on stderr, with an ETA.

It does not know what a piece is.
"""

from __future__ import annotations

import sys
import time


class Counting:
    """Told after each of `total` pieces; in a pipe it speaks at most every ten seconds."""

    _PAUSE_S = 10.0

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self._title, self._total, self._first = title, total, done
        self._began = self._spoke = time.monotonic()
        self._moving = sys.stderr.isatty()

    def at(self, done: int, said: str = "") -> None:
        """`done` pieces are over; `said` is what can be told so far."""
        now = time.monotonic()
        if not self._moving and now - self._spoke < self._PAUSE_S and done < self._total:
            return
        self._spoke = now
        each_s = (now - self._began) / max(done - self._first, 1)
        left = f", {_duration(each_s * (self._total - done))} left" if done < self._total else ""
        line = f"{self._title}: {done} of {self._total}{left}{'  ' + said if said else ''}"
        if self._moving:
            end = "\n" if done >= self._total else ""
            print(f"\r\x1b[2K{line}", end=end, file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
