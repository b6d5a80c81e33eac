"""Owns in which order those who wait come in: by priority, then clients in turn, then by arrival.

Who was overtaken often enough by a higher priority rises by one, so that nobody waits for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ingle.runtime.task import Task

_PATIENCE = 16  # tasks that may overtake before a waiting one rises


class Line:
    """Tasks that wait. An idle task comes after all others, and overtakes nobody."""

    def __init__(self) -> None:
        self._waiting: dict[Task, int] = {}  # arrival; of those who come back, their first
        self._overtaken: Counter[Task] = Counter()
        self._served: Counter[str] = Counter()
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, task: object) -> bool:
        return task in self._waiting

    def __iter__(self) -> Iterator[Task]:
        return iter(list(self._waiting))

    def join(self, task: Task, again: bool = False) -> None:
        """At the end; one who comes back to what it has begun stands before all newcomers."""
        self._arrivals += 1
        self._waiting[task] = 0 if again else self._arrivals
        here = {other.terms.client for other in self._waiting if other is not task}
        if task.terms.client not in here:  # who was away does not save up turns
            least = min((self._served[client] for client in here), default=0)
            self._served[task.terms.client] = max(self._served[task.terms.client], least)

    def first(self) -> Task | None:
        """Whose turn it is; None if nobody waits."""
        return min(self._waiting, key=self._rank, default=None)

    def leave(self, task: Task, served: bool) -> None:
        """Out of the line, because it was served or because it gave up."""
        del self._waiting[task]
        self._overtaken.pop(task, None)
        if not self._waiting:
            self._served.clear()  # nobody is left to take turns with
        if not served:
            return
        self._served[task.terms.client] += 1
        for other in self._waiting:
            if other.terms.priority < task.terms.priority:
                self._overtaken[other] += 1

    def _rank(self, task: Task) -> tuple[bool, int, bool, int, int]:
        risen = task.terms.priority + self._overtaken[task] // _PATIENCE
        arrival = self._waiting[task]
        return task.idle, -risen, arrival > 0, self._served[task.terms.client], arrival
