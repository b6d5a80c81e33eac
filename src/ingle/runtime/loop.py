"""Owns the thread on which an engine computes for those who await: submissions in, tokens out.

What comes in is bounded by the engine's line, what goes out by each request's buffer. Nobody who
submits, cancels or reads ever waits for a step. It does not know event loops or text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic, sleep

from ingle.errors import IngleError
from ingle.runtime.engine import Engine
from ingle.runtime.request import Request
from ingle.runtime.task import Generation, Progress, Task, Warming
from ingle.runtime.terms import USUAL, BusyError, Terms

_LOOK_S = 0.1  # between looks for deadlines while no task wants to run
_WARMINGS = 16  # prefixes that may wait to be computed
_SAVE_S = 10.0  # at most, at the end, for prefixes that are not on disk yet

# Tokens drawn since the last call, whether that is all, and what went wrong. It must not block.
Listener = Callable[[list[int], bool, BaseException | None], None]


class EngineLoop:
    """Computes as long as anything wants to run. Any thread may call; it calls the listeners."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._orders: deque[Callable[[], None]] = deque()
        self._wake = Event()
        self._live: dict[Generation, Listener] = {}
        self._warmings: deque[Warming] = deque(maxlen=_WARMINGS)
        self._coming = 0  # submitted and not in the line yet
        self._closed = False
        self._thread = Thread(target=self._run, name="ingle-engine", daemon=True)
        self._thread.start()

    def submit(
        self, request: Request, progress: Progress, listener: Listener, terms: Terms = USUAL
    ) -> Generation:
        """A generation on its way. Raises IngleError; BusyError when too many wait."""
        if self._closed:
            raise IngleError("engine", "the engine must be open, but it was closed")
        task = self._engine.generation(request, progress, terms)
        scheduler = self._engine.scheduler
        if len(scheduler.line) + self._coming >= scheduler.max_waiting:
            rule = f"at most {scheduler.max_waiting} requests may wait, but got one more"
            raise BusyError(rule, scheduler.expected_wait_s())
        self._coming += 1
        self._order(lambda: self._begin(task, listener))
        return task

    def warm(self, ids: list[int]) -> None:
        """Computes a prefix that is likely to be asked for, once nothing else is to be done.

        The last ones asked for come first; those of long ago are forgotten.
        """
        self._warmings.append(Warming(ids, None, USUAL))
        self._wake.set()

    def cancel(self, task: Task) -> None:
        """Ends a task after the step in progress; its listener hears of the end."""
        self._order(lambda: self._engine.cancel(task))

    def read(self, task: Generation, count: int) -> None:
        """So many of a task's tokens were read."""
        task.num_read = count
        self._wake.set()

    def close(self) -> None:
        """Ends every task and the thread."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _order(self, call: Callable[[], None]) -> None:
        self._orders.append(call)
        self._wake.set()

    def _begin(self, task: Generation, listener: Listener) -> None:
        self._coming -= 1
        self._live[task] = listener
        self._submit(task)

    def _submit(self, task: Task) -> None:
        try:
            self._engine.put(task)
        except IngleError as error:
            task.end(error)

    def _run(self) -> None:
        while not self._closed:
            self._wake.clear()
            self._obey()
            advanced = self._engine.step()
            self._deliver()
            if not advanced and not self._orders and not self._use_idle_time():
                self._wake.wait(self._pause_s())
        self._obey()
        for task in self._live:
            self._engine.cancel(task)
        self._deliver()
        self._save()

    def _use_idle_time(self) -> bool:
        """Begins something that nobody waits for; False if there is nothing."""
        if self._warmings:
            self._submit(self._warmings.pop())
            return True
        return self._engine.save_prefix()

    def _pause_s(self) -> float | None:
        """How long nothing need be looked at: for ever, unless deadlines or the disk are to be."""
        return _LOOK_S if self._live or self._engine.saving else None

    def _save(self) -> None:
        until = monotonic() + _SAVE_S
        while self._engine.saving and monotonic() < until:
            if not self._engine.save_prefix():
                sleep(0.01)

    def _obey(self) -> None:
        while self._orders:
            self._orders.popleft()()

    def _deliver(self) -> None:
        for task, listener in list(self._live.items()):
            tokens = list(task.unread)
            task.unread.clear()
            if tokens or task.done:
                listener(tokens, task.done, task.error)
            if task.done:
                del self._live[task]
