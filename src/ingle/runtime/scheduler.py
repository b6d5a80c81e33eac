"""Owns which tasks run together in a step: continuous batching (Yu et al. 2022, Orca).

A step packs one row for each sequence that decodes and at most one chunk of one prompt (Agrawal et
al. 2023, Sarathi), so a long prompt delays running answers by one chunk and no more. A task comes
in when there are pages for what it has and the next part of its answer. Who came last goes back to
the line when pages run out, and so may one whose reader is behind; what they have computed is left
to the prefix index. Logits are the same bits whoever shares the step.

It runs on one thread at a time and does not know who that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ingle.ops import PAGE_TOKENS, Backend, Batch, Model
from ingle.runtime.line import Line
from ingle.runtime.pages import PagePool, PageTable
from ingle.runtime.prefix import PrefixIndex
from ingle.runtime.prefix_store import PrefixStore
from ingle.runtime.task import SNAPSHOT_TOKENS, Task
from ingle.runtime.terms import BusyError, DeadlineError

DELAY_S = 0.25  # that a chunk of a prompt may add to a step of those who decode, at most:
_DELAY_STEPS = 1.5  # as much as so many steps without one take,
_LEAST_DELAY_S = 0.03  # but not less
_LEAST_CHUNK = 32
_AHEAD_TOKENS = 512  # of an answer that there must be pages for when a task comes in
_IDLE_CHUNK = 128  # of work that nobody waits for: newcomers wait for the end of the step

Share = tuple[Task, int]  # how many of its pending tokens run in a step


class Scheduler:
    """Runs tasks of one model. max_running: sequences at a time; max_waiting: those in the line."""

    def __init__(
        self,
        model: Model,
        backend: Backend,
        pool: PagePool,
        index: PrefixIndex,
        max_running: int,
        max_waiting: int,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.index = index
        self.max_running, self.max_waiting = max_running, max_waiting
        self.store: PrefixStore | None = None  # prefixes on disk
        self.running: list[Task] = []
        self.last_batch = (0, 0)  # sequences and tokens of the last step
        self.line = Line()
        self._parked: list[Task] = []  # sent back while their readers are behind
        self._model, self._backend, self._pool = model, backend, pool
        self._windows = any(group.window for group in pool.store.layout.groups)
        self._clock = clock
        self._steps = 0
        self._starts = 0  # tasks that came in
        self._task_s = 0.0  # that tasks have run, averaged over the last few
        self._decode_s = 0.0  # that a step of decodes alone takes, averaged over the last few
        self._chunk_token_s = 0.0  # seconds that a token of a chunk takes, as last seen

    def submit(self, task: Task) -> None:
        """Puts a task in the line. Raises BusyError when that is full."""
        if len(self.line) >= self.max_waiting:
            rule = f"at most {self.max_waiting} requests may wait, but got one more"
            raise BusyError(rule, self.expected_wait_s())
        self.line.join(task)

    def expected_wait_s(self) -> float:
        """Seconds until one more is likely to come in: as long as tasks lately ran, at least 1."""
        return max(1.0, self._task_s)

    def cancel(self, task: Task) -> None:
        """Ends a task, wherever it is; what it has computed stays at hand."""
        if task in self.line:
            self.line.leave(task, served=False)
        elif task in self._parked:
            self._parked.remove(task)
        elif task in self.running:
            self._retire(task)
        if not task.done:
            task.end()

    def step(self) -> bool:
        """Runs one batch; False if nothing wants to run."""
        self._drop_late()
        self._admit()
        shares = self._afford(self._choose())
        if not shares:
            return False
        self._steps += 1
        self.last_batch = len(shares), sum(count for _, count in shares)
        began = self._clock()
        try:
            logits = self._forward(shares)
        except Exception as error:  # whose fault it is cannot be told
            for task, _ in shares:
                self._fail(task, error)
            return True
        self._note_speed(shares, self._clock() - began)
        self._hand_out(shares, logits)
        seconds = self._clock() - began
        for task, _ in shares:
            task.spent(seconds)
        return True

    def save_prefix(self) -> bool:
        """Has one prefix written that is not on disk yet; False if there is none to write now."""
        found = None if self.store is None else self.index.unsaved()
        if found is None or self.store is None:
            return False
        node, kind = found
        if not self.store.save(self._pool, node, kind):
            return False
        node.saved = sum(page >= 0 for page in node.pages)
        return True

    def _admit(self) -> None:
        for task in [task for task in self._parked if task.wants]:
            self._parked.remove(task)
            self.line.join(task, again=True)
        while (first := self.line.first()) is not None:
            while not self._fits(first):
                if not self._park_one(first):
                    return
            self.line.leave(first, served=True)
            self._start(first)

    def _fits(self, task: Task) -> bool:
        """Whether the pages that all will need for a while are there, shared ones counted twice."""
        if len(self.running) >= self.max_running:
            return False
        tasks = [*self.running, task]
        return all(
            sum(self._need(one, group) for one in tasks) <= self._pool.num_pages(group)
            for group in range(len(self._pool.store.shares))
        )

    def _need(self, task: Task, group: int) -> int:
        tokens = min(task.most_tokens, len(task.ids) + _AHEAD_TOKENS)
        return min(-(-tokens // PAGE_TOKENS), self._pool.store.shares[group])

    def _afford(self, shares: list[Share]) -> list[Share]:
        """The shares that there are pages for: who came last makes room for the others."""
        while not self._affordable(shares):
            last = max(self.running, key=lambda one: (one.idle, -one.terms.priority, one.place))
            shares = [share for share in shares if share[0] is not last]
            self._retire(last)
            if last.idle:
                last.end()
            else:
                self.line.join(last, again=True)
        return shares

    def _affordable(self, shares: Sequence[Share]) -> bool:
        """Whether the pages that all hold after a step are there, shared ones counted twice."""
        counts = dict(shares)
        for group in range(len(self._pool.store.shares)):
            held = 0
            for task in self.running:
                assert task.table is not None
                held += task.table.num_held_after(group, task.computed, counts.get(task, 0))
            if held > self._pool.num_pages(group):
                return False
        return True

    def _park_one(self, newcomer: Task) -> bool:
        """Sends back a task that does not want to run, or nobody waits for, if there is one."""
        spare = [t for t in self.running if not t.wants or (t.idle and not newcomer.idle)]
        if not spare:
            return False
        task = min(spare, key=lambda one: (not one.idle, one.last_run))
        self._retire(task)
        if task.idle:
            task.end()
        else:
            self._parked.append(task)
        return True

    def _start(self, task: Task) -> None:
        task.table = PageTable(self._pool)
        task.computed = 0
        if task.reuses:
            if self.store is not None:
                kind = task.num_experts_per_tok
                self.store.restore(self._pool, self.index, kind, task.ids[:-1])
            task.computed, pages = self.index.match(task.num_experts_per_tok, task.ids[:-1])
            task.table.adopt(pages, task.computed)
        task.started(task.computed)
        task.began = self._clock()
        self._starts += 1
        task.place = task.place or self._starts
        self.running.append(task)

    def _choose(self) -> list[Share]:
        """Those that decode, and a chunk of the prompt that has waited longest."""
        ready = [task for task in self.running if task.wants]
        if len(ready) > 1:
            ready = [task for task in ready if not task.idle] or ready[:1]
            longest = min(ready, key=lambda task: task.last_run)
            experts = longest.num_experts_per_tok  # a forward has one number of them
            ready = [task for task in ready if task.num_experts_per_tok == experts]
        for task in ready:
            if not task.pending:  # a step that was interrupted: its last token again
                task.computed -= 1
        decodes = [(task, 1) for task in ready if task.pending == 1]
        prompts = [task for task in ready if task.pending > 1]
        if not prompts:
            return decodes
        chosen = min(prompts, key=lambda task: (-task.terms.priority, task.last_run))
        room = self._chunk_tokens(bool(decodes), chosen.idle) - len(decodes)
        count = min(chosen.pending, max(1, room), chosen.most_rows or chosen.pending)
        return [*decodes, (chosen, count)]

    def _chunk_tokens(self, beside_decodes: bool, idle: bool) -> int:
        """Tokens of a step: all that the pages allow, unless somebody would wait for its end."""
        most = self._pool.store.chunk_tokens
        if idle:
            return min(most, _IDLE_CHUNK)
        if not beside_decodes or not self._chunk_token_s:
            return most if not beside_decodes else min(most, _IDLE_CHUNK)
        wanted = self._decode_s * _DELAY_STEPS if self._decode_s else DELAY_S
        delay = min(DELAY_S, max(_LEAST_DELAY_S, wanted))
        bearable = int(delay / self._chunk_token_s) // _LEAST_CHUNK * _LEAST_CHUNK
        return min(most, max(_LEAST_CHUNK, bearable))

    def _note_speed(self, shares: Sequence[Share], seconds: float) -> None:
        _, count = shares[-1]
        if count >= _LEAST_CHUNK:
            self._chunk_token_s = seconds / (count + len(shares) - 1)
        elif count == 1:
            self._decode_s += (seconds - self._decode_s) / (8 if self._decode_s else 1)

    def _forward(self, shares: Sequence[Share]) -> NDArray[np.float32]:
        for task, count in shares:
            assert task.table is not None
            task.table.prepare(task.computed, task.computed + count)
            task.last_run = self._steps
        return self._backend.forward(self._model, _batch(shares, self._pool))

    def _hand_out(self, shares: Sequence[Share], logits: NDArray[np.float32]) -> None:
        done = 0
        for task, count in shares:
            wanted = len(task.rows(count))
            before = task.computed
            try:
                task.accept(logits[done : done + wanted], count)
            except Exception as error:
                self._fail(task, error)
                continue
            finally:
                done += wanted
            if task.done:
                self._retire(task)
            elif task.reuses:
                self._remember(task, before)

    def _remember(self, task: Task, before: int) -> None:
        """Leaves what a running task shares with others to the index: whole pages, turns' ends."""
        passed = [b for b in task.boundaries if before < b <= task.computed]
        if not passed and task.computed // SNAPSHOT_TOKENS == before // SNAPSHOT_TOKENS:
            return
        whole = task.computed // PAGE_TOKENS * PAGE_TOKENS
        places = [*passed, whole] if whole > before else passed
        # Layers with full attention can be resumed anywhere; a window only where it was kept.
        count = max([whole, *passed]) if self._windows else whole
        self._insert(task, count, places)

    def _retire(self, task: Task) -> None:
        """Out of the running; what it has computed is left to the index."""
        self.running.remove(task)
        self._task_s += (self._clock() - task.began - self._task_s) / 8
        assert task.table is not None
        if task.reuses and task.computed:
            self._insert(task, task.computed, [task.computed])
        task.table.clear()
        task.table = None

    def _insert(self, task: Task, count: int, places: Sequence[int]) -> None:
        assert task.table is not None
        self.index.insert(task.num_experts_per_tok, task.ids, count, task.table, places)

    def _fail(self, task: Task, error: Exception) -> None:
        if task in self.running:
            self._retire(task)
        task.end(error)

    def _drop_late(self) -> None:
        tasks = [*self.line, *self._parked, *self.running]
        if not any(task.terms.deadline is not None for task in tasks):
            return
        now = self._clock()
        for task in tasks:
            if task.terms.deadline is not None and now > task.terms.deadline:
                self.cancel(task)
                task.error = DeadlineError(
                    "deadline", "a request must be done in time, but got late"
                )


def _batch(shares: Sequence[Share], pool: PagePool) -> Batch:
    """The pending tokens of all, each its own sequence."""
    (first, count), *rest = shares
    assert first.table is not None
    ids = first.ids[first.computed : first.computed + count]
    experts = first.num_experts_per_tok
    if not rest:
        start, rows = first.computed, first.rows(count)
        return Batch.chunk(ids, start, pool.store, first.table, rows, experts)
    positions = [np.arange(first.computed, first.computed + count, dtype=np.int32)]
    outputs = list(first.rows(count))
    for task, n in rest:
        outputs += [len(ids) + row for row in task.rows(n)]
        ids += task.ids[task.computed : task.computed + n]
        positions.append(np.arange(task.computed, task.computed + n, dtype=np.int32))
    return Batch(
        np.array(ids, np.int32),
        np.concatenate(positions),
        np.repeat(np.arange(len(shares), dtype=np.int32), [n for _, n in shares]),
        np.array(outputs, np.int32),
        pool.store,
        [task.table for task, _ in shares if task.table is not None],
        experts,
    )
