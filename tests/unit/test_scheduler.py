"""Whoever else is served, each answer is what the request would get alone, and no page is lost."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from ingle.errors import IngleError
from ingle.runtime import BusyError, DeadlineError, Engine, Progress, Request, SamplingParams, Terms
from ingle.runtime import engine as engine_module
from ingle.runtime import scheduler as scheduler_module
from ingle.runtime.task import Generation

sys.path.insert(0, str(Path(__file__).parent))
from paper_model import PaperBackend, answer, paper_model

CONTEXT = 320
BASE = [(i * i + 3 * i) % 89 for i in range(400)]
OTHER = [(7 * i + 5) % 83 for i in range(400)]


def make(
    windows: tuple[int, ...] = (0, 100), sequences: int = 2, **settings: Any
) -> tuple[Engine, PaperBackend]:
    backend = PaperBackend()
    made = Engine(paper_model(windows), backend, CONTEXT, sequences, **settings)  # type: ignore[arg-type]
    return made, backend


def check_pages(engine: Engine) -> None:
    """Every page is free, or has as many holders as hold it."""
    scheduler, pool = engine.scheduler, engine.pool
    for g in range(len(engine.store.pages)):
        held: Counter[int] = Counter()
        for task in scheduler.running:
            assert task.table is not None
            width = len(task.table.page_table(g))
            held.update(p for i in range(width) if (p := task.table.page(g, i)) >= 0)
        held.update(node.pages[g] for node in engine.index.nodes() if node.pages[g] >= 0)
        for page in range(pool.num_pages(g)):
            assert pool.holders(g, page) == held[page]
        assert pool.num_free(g) == pool.num_pages(g) - len(held)


def ask(prompt: list[int], count: int, **wish: Any) -> Request:
    return Request(prompt, SamplingParams(temperature=0), max_tokens=count, **wish)


def run(engine: Engine, request: Request) -> tuple[list[int], Progress]:
    progress = Progress(len(request.prompt_ids))
    return list(engine.generate(request, progress)), progress


class Serving(RuleBasedStateMachine):
    """Requests come, are read, are left, in any order."""

    tasks = Bundle("tasks")

    @initialize(
        windows=st.sampled_from([(0,), (0, 100), (0, 0, 64), (30, 100)]),
        sequences=st.integers(1, 3),
        chunk=st.sampled_from([16, 64, 100]),
        cache=st.sampled_from([0, 20_000]),
        ahead=st.sampled_from([1, 40, 512]),
    )
    def open(
        self, windows: tuple[int, ...], sequences: int, chunk: int, cache: int, ahead: int
    ) -> None:
        self.usual_ahead = scheduler_module._AHEAD_TOKENS
        scheduler_module._AHEAD_TOKENS = ahead
        before, engine_module.CHUNK_TOKENS = engine_module.CHUNK_TOKENS, chunk
        self.windows = windows
        self.engine, self.backend = make(windows, sequences, cache_bytes=cache)
        engine_module.CHUNK_TOKENS = before
        self.said: dict[Generation, list[int]] = {}

    @rule(
        target=tasks,
        shared=st.integers(0, 300),
        own=st.integers(1, 150),
        base=st.sampled_from([BASE, OTHER]),
        count=st.integers(1, 90),
        buffer=st.sampled_from([1, 4, 1000]),
        priority=st.integers(0, 2),
        experts=st.sampled_from([None, None, 2]),
        client=st.sampled_from(["", "a", "b"]),
    )
    def submit(self, **draw: Any) -> Generation:
        prompt = (draw["base"][: draw["shared"]] + [90 + draw["own"] % 7] * draw["own"])[:300]
        request = ask(prompt, draw["count"], num_experts_per_tok=draw["experts"])
        boundaries = (draw["shared"], draw["shared"] // 2)
        terms = Terms(draw["priority"], draw["client"], None, draw["buffer"], boundaries)
        task = self.engine.submit(request, Progress(len(prompt)), terms)
        self.said[task] = []
        return task

    @rule(steps=st.integers(1, 20))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.engine.step()

    @rule(task=tasks, most=st.integers(1, 50))
    def read(self, task: Generation, most: int) -> None:
        while task.unread and most:
            self.said[task].append(task.unread.popleft())
            task.num_read += 1
            most -= 1

    @rule(task=tasks)
    def cancel(self, task: Generation) -> None:
        self.engine.cancel(task)
        assert task not in self.engine.scheduler.running

    @rule(shared=st.integers(1, 200))
    def warm(self, shared: int) -> None:
        if not self.engine.scheduler.running and not len(self.engine.scheduler.line):
            self.engine.warm(BASE[:shared])

    @rule(shared=st.integers(1, 200))
    def score(self, shared: int) -> None:
        for task in self.said:
            self.engine.cancel(task)
        self.engine.logits(BASE[:shared])

    @invariant()
    def pages_are_accounted_for(self) -> None:
        if hasattr(self, "engine"):
            check_pages(self.engine)

    @invariant()
    def answers_are_those_of_the_request_alone(self) -> None:
        for task, said in getattr(self, "said", {}).items():
            assert task.error is None
            request = task.request
            right = answer(self.windows, request.prompt_ids, len(said), request.num_experts_per_tok)
            assert said == right

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        self.read_to_the_end()
        scheduler_module._AHEAD_TOKENS = self.usual_ahead

    def read_to_the_end(self) -> None:
        for _ in range(10_000):  # everybody reads to the end
            for task in self.said:
                self.read(task, 1000)
            if not self.engine.step():
                break
        for task, said in self.said.items():
            self.read(task, 1000)
            assert task.done
            if task.progress.finish_reason == "length":
                room = CONTEXT - len(task.request.prompt_ids)
                assert len(said) == min(task.request.max_tokens or 0, room)
        self.answers_are_those_of_the_request_alone()
        assert not self.engine.scheduler.running
        self.engine.index.clear()
        check_pages(self.engine)
        for g in range(len(self.engine.store.pages)):
            assert self.engine.pool.num_free(g) == self.engine.pool.num_pages(g)


TestServing = Serving.TestCase
TestServing.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_a_long_prompt_delays_running_answers_by_one_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler_module, "DELAY_S", 0.0)
    engine, backend = make(sequences=3)
    running = engine.submit(ask([1, 2], 200), Progress(2), Terms(buffer=1000))
    engine.step()
    engine.submit(ask(BASE[:300], 5), Progress(300), Terms(buffer=1000))
    said = [len(running.unread)]
    while len(running.unread) < 12:
        engine.step()
        said.append(len(running.unread))
    assert said == list(range(said[0], said[0] + len(said)))  # a token in every step
    assert max(map(len, backend.batches)) == 2
    together = [batch for batch in backend.batches if len(batch) == 2 and max(batch) > 1]
    # The first such chunk is of a usual size, the others of what the first one's speed allows.
    assert [max(batch) for batch in together] == [127, 31, 31, 31, 31, 31, 18]


def test_newcomers_wait_for_the_pages_of_what_comes_soon() -> None:
    engine, _ = make((0,), sequences=2)
    room = CONTEXT - 10
    tasks = [
        engine.submit(ask([i, *BASE[:9]], room), Progress(10), Terms(buffer=1000)) for i in range(4)
    ]
    most = 0
    while engine.step():
        most = max(most, len(engine.scheduler.running))
        check_pages(engine)
    assert most == 2  # each may say all of its 320 tokens soon, and there are pages for 640
    for i, task in enumerate(tasks):
        assert list(task.unread) == answer((0,), [i, *BASE[:9]], room)


def test_who_came_last_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "_AHEAD_TOKENS", 64)
    engine, _ = make((0,), sequences=2)
    room = CONTEXT - 10
    tasks = [
        engine.submit(ask([i, *BASE[:9]], room), Progress(10), Terms(buffer=1000)) for i in range(4)
    ]
    seen: list[int] = []
    while engine.step():
        seen.append(len(engine.scheduler.running))
        check_pages(engine)
        assert tasks[0].done or tasks[0] in engine.scheduler.running
    assert max(seen) == 4 and min(seen) <= 2
    for i, task in enumerate(tasks):
        assert list(task.unread) == answer((0,), [i, *BASE[:9]], room)
        assert task.progress.completion_tokens == room


def test_prompts_take_turns() -> None:
    engine, _ = make(sequences=4)
    engine_chunk = engine.store.chunk_tokens
    assert engine_chunk == 512
    engine.submit(ask(BASE[:10], 300), Progress(10), Terms(buffer=1000))
    engine.step()
    slow = engine.submit(ask(BASE[:300], 5), Progress(300), Terms(buffer=1000))
    quick = engine.submit(ask([5, 6], 5), Progress(2), Terms(buffer=1000))
    while not quick.done:
        engine.step()
    assert not slow.done


def test_the_next_turn_computes_only_what_is_new() -> None:
    windows = (0, 100)
    engine, backend = make(windows)
    first, _ = run(engine, ask(BASE[:150], 20))
    backend.batches.clear()
    prompt = [*BASE[:150], *first, 3, 4, 5]
    said, progress = run(engine, ask(prompt, 5))
    assert progress.cached_tokens == 169  # the last token of an answer is never computed
    assert sum(map(sum, backend.batches)) == 4 + 4
    assert said == answer(windows, prompt, 5)


def test_a_history_whose_end_was_dropped_resumes_at_the_prompts_end() -> None:
    """As gpt-oss does it: the reasoning that was said is left out of the next prompt."""
    windows = (0, 100)
    engine, _ = make(windows)
    run(engine, ask(BASE[:150], 90))
    prompt = [*BASE[:150], 7, 8, 9, *OTHER[:20]]
    said, progress = run(engine, ask(prompt, 5))
    assert progress.cached_tokens == 150
    assert said == answer(windows, prompt, 5)


def test_prompts_that_part_at_a_boundary_share_what_is_before_it() -> None:
    windows = (0, 100)
    engine, _ = make(windows, cache_bytes=100_000)
    terms = Terms(boundaries=(130,), buffer=1000)
    first = engine.submit(ask([*BASE[:130], *OTHER[:150]], 3), Progress(280), terms)
    while not first.done:
        engine.step()
    said, progress = run(engine, ask([*BASE[:130], *OTHER[200:250]], 3))
    assert progress.cached_tokens == 130
    assert said == answer(windows, [*BASE[:130], *OTHER[200:250]], 3)


def test_what_was_warmed_is_at_hand_and_disturbs_nobody() -> None:
    engine, backend = make()
    engine.warm(BASE[:200])
    backend.batches.clear()
    _, progress = run(engine, ask(BASE[:201], 1))
    assert progress.cached_tokens == 200
    assert sum(map(sum, backend.batches)) == 1


def test_too_many_are_told_to_come_again() -> None:
    engine, _ = make(sequences=1, max_waiting=2)
    for _ in range(2):
        engine.submit(ask(BASE[:200], 100), Progress(200))
    with pytest.raises(BusyError, match="at most 2 requests may wait") as told:
        engine.submit(ask(BASE[:200], 100), Progress(200))
    assert told.value.retry_after_s >= 1


def test_who_is_late_ends() -> None:
    engine, _ = make(sequences=1)
    late = engine.submit(ask(BASE[:20], 50), Progress(20), Terms(deadline=-1.0))
    fine = engine.submit(ask(BASE[:20], 5), Progress(20), Terms(buffer=9, deadline=float("inf")))
    while engine.step():
        pass
    assert isinstance(late.error, DeadlineError) and late.done
    assert fine.done and fine.error is None


def test_higher_priorities_go_first_and_nobody_waits_for_ever() -> None:
    engine, _ = make(sequences=1)
    low = engine.submit(ask(BASE[:300], 2), Progress(300), Terms(0, buffer=9))
    order = []
    for number in range(40):
        high = engine.submit(ask(OTHER[:300], 2), Progress(300), Terms(1, buffer=9))
        while not high.done:
            engine.step()
        if low.done:
            order.append(number)
    assert order and 10 < order[0] < 30


def test_clients_take_turns() -> None:
    engine, _ = make(sequences=1)
    many = [
        engine.submit(ask(BASE[:300], 2), Progress(300), Terms(client="many", buffer=9))
        for _ in range(6)
    ]
    one = engine.submit(ask(OTHER[:300], 2), Progress(300), Terms(client="one", buffer=9))
    while not one.done:
        engine.step()
    assert sum(task.done for task in many) <= 2


def test_a_forward_that_fails_ends_those_in_it_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, backend = make()
    forward = backend.forward

    def fail(*_: Any) -> Any:
        raise MemoryError("no more")

    monkeypatch.setattr(backend, "forward", fail)
    with pytest.raises(MemoryError):
        run(engine, ask(BASE[:20], 2))
    monkeypatch.setattr(backend, "forward", forward)
    assert run(engine, ask(BASE[:20], 2))[0] == answer((0, 100), BASE[:20], 2)
    check_pages(engine)


def test_an_interrupted_step_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, backend = make()
    other = engine.submit(ask(BASE[:70], 9), Progress(70), Terms(buffer=99))
    forward = backend.forward

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    engine.step()
    monkeypatch.setattr(backend, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(engine, ask(BASE[:20], 2))
    monkeypatch.setattr(backend, "forward", forward)
    while not other.done:
        engine.step()
    assert list(other.unread) == answer((0, 100), BASE[:70], 9)
    check_pages(engine)


def test_a_context_that_is_full_says_one_token() -> None:
    engine, _ = make(sequences=1)
    prompt = (BASE * 2)[:CONTEXT]
    said, progress = run(engine, ask(prompt, 5))
    assert said == answer((0, 100), prompt, 1)
    assert progress.finish_reason == "length"
    with pytest.raises(IngleError, match="1 to 320 tokens"):
        run(engine, ask([*prompt, 1], 5))
