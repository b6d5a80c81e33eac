"""Owns stop strings: where an answer ends by what it says. It does not know tokens."""

from __future__ import annotations

from collections.abc import Sequence

from ingle.errors import IngleError


class StopScanner:
    """Passes text on until a stop string appears; holds back what might be the start of one.

    found: the stop string that has appeared.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found: str | None = None

    def feed(self, piece: str) -> tuple[str, bool]:
        """The text that is now certain, and whether a stop string ended it."""
        text = self._held + piece
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, self.found = min(found, key=lambda one: one[0])
            self._held = ""
            return text[:at], True
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def finish(self) -> str:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return held


def stop_strings(stop: object) -> tuple[str, ...]:
    """The option `stop` (None, a string or several) as a tuple. Raises IngleError."""
    if stop is None:
        return ()
    stops = (stop,) if isinstance(stop, str) else stop
    if not isinstance(stops, list | tuple) or not all(isinstance(s, str) for s in stops):
        raise IngleError("stop", f"stop must be a string or a list of them, but got {stop!r:.60}")
    return tuple(stops)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    limit = min(len(text), len(stop) - 1)
    return next((n for n in range(limit, 0, -1) if text.endswith(stop[:n])), 0)
