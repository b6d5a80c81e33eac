"""Owns the thread on which an engine computes for those who await: submissions in, tokens out.

What comes in is bounded by the engine's line, what goes out by each request's buffer. Nobody who
submits, cancels or reads ever waits for a step. It does not know event loops or text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic, perf_counter, sleep

from ingle.errors import IngleError
from ingle.runtime.engine import Engine
from ingle.runtime.meter import Meter
from ingle.runtime.request import Request
from ingle.runtime.task import Generation, Progress, Task, Warming
from ingle.runtime.terms import USUAL, BusyError, ClosingError, Terms

_LOOK_S = 0.1  # between looks for deadlines while no task wants to run
_WARMINGS = 16  # prefixes that may wait to be computed
_SAVE_S = 10.0  # at most, at the end, for prefixes that are not on disk yet

# Tokens drawn since the last call, whether that is all, and what went wrong. It must not block.
Listener = Callable[[list[int], bool, BaseException | None], None]


@dataclass
class _Heard:
    """Who hears of a generation. last: when it was asked for, then when it last said something."""

    listener: Listener
    last: float = field(default_factory=perf_counter)
    said: bool = False


class EngineLoop:
    """Computes as long as anything wants to run. Any thread may call; it calls the listeners.

    meter: told what is computed.
    """

    def __init__(self, engine: Engine, meter: Meter | None = None) -> None:
        self._engine = engine
        self._meter = meter
        self._orders: deque[Callable[[], None]] = deque()
        self._wake = Event()
        self._live: dict[Generation, _Heard] = {}
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
        heard = _Heard(listener)
        self._order(lambda: self._begin(task, heard))
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

    def cut_short(self) -> None:
        """Ends every task that was submitted; its listener hears of a `ClosingError`."""
        self._order(self._cut)

    def close(self) -> None:
        """Ends every task and the thread."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _order(self, call: Callable[[], None]) -> None:
        self._orders.append(call)
        self._wake.set()

    def _begin(self, task: Generation, heard: _Heard) -> None:
        self._coming -= 1
        self._live[task] = heard
        self._submit(task)

    def _cut(self) -> None:
        for task in self._live:
            if not task.done:
                self._engine.cancel(task)
                task.error = ClosingError()

    def _submit(self, task: Task) -> None:
        try:
            self._engine.put(task)
        except IngleError as error:
            task.end(error)

    def _run(self) -> None:
        while not self._closed:
            self._wake.clear()
            self._obey()
            advanced = self._step()
            self._deliver()
            if not advanced and not self._orders and not self._use_idle_time():
                self._wake.wait(self._pause_s())
        self._obey()
        for task in self._live:
            self._engine.cancel(task)
        self._deliver()
        self._save()

    def _step(self) -> bool:
        began, scheduler = perf_counter(), self._engine.scheduler
        advanced = self._engine.step()
        if advanced and self._meter is not None:
            sequences, tokens = scheduler.last_batch
            self._meter.stepped(sequences, tokens, perf_counter() - began)
        return advanced

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
        now = perf_counter()
        for task, heard in list(self._live.items()):
            tokens = list(task.unread)
            task.unread.clear()
            if tokens and self._meter is not None:
                self._tell(self._meter, heard, len(tokens), now)
            if tokens or task.done:
                heard.listener(tokens, task.done, task.error)
            if task.done:
                del self._live[task]
                if self._meter is not None:
                    self._meter.ended(task.progress, task.error)

    def _tell(self, meter: Meter, heard: _Heard, count: int, now: float) -> None:
        """Of tokens that came; those that came with the first one came at once."""
        if heard.said:
            meter.more_tokens(count, now - heard.last)
        else:
            meter.first_token(now - heard.last)
        heard.last, heard.said = now, True
