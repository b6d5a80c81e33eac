"""Owns a lock whose waiters get it in the order they came. It does not know what it guards."""

from __future__ import annotations

from collections import deque
from threading import Lock


class Turns:
    """A lock for ``with``; one who computes without end lets others in between two steps."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._held = False
        self._waiting: deque[Lock] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._held:
                self._held = True
                return
            mine = Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            mine.acquire()  # until it is handed over
        except BaseException:
            with self._guard:
                gave_up = mine in self._waiting
                if gave_up:
                    self._waiting.remove(mine)
            if not gave_up:
                self._pass_on()
            raise

    def __exit__(self, *_: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False
