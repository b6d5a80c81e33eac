"""Native answers are the same bits whoever shares the step, and whatever prefix is at hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingle.backends import make_backend
from ingle.formats import open_container
from ingle.models import load_model
from ingle.runtime import Engine, Progress, Request, SamplingParams, Terms
from ingle.runtime import engine as engine_module

TINY = Path(__file__).parent.parent / "golden" / "tiny_gpt_oss" / "hf"
CONTEXT = 512
BASE = np.random.default_rng(5).integers(0, 256, 400).tolist()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """A mixture of experts with full and sliding layers, on the native backend."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(TINY, folder)
    backend = make_backend("cpu", 2)
    yield load_model(open_container(folder), backend, CONTEXT), backend


def alone(parts: tuple[Any, Any], request: Request) -> tuple[list[int], list[Any]]:
    progress = Progress(len(request.prompt_ids))
    said = list(Engine(*parts, CONTEXT).generate(request, progress))
    return said, progress.logprobs


requests = st.lists(
    st.tuples(
        st.sampled_from([0, 60, 64, 130, 200]),  # tokens shared with others
        st.integers(1, 60),  # and of its own
        st.integers(1, 12),  # to say
        st.integers(0, 8),  # steps until it comes
        st.sampled_from([None, None, None, 2]),  # tokens after which it is cancelled
    ),
    min_size=2,
    max_size=7,
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests, st.sampled_from([32, 64, 100, 512]), st.sampled_from([0, 1 << 20]))
def test_answers_are_those_of_the_request_alone(
    parts: tuple[Any, Any],
    wishes: list[tuple[int, int, int, int, int | None]],
    chunk: int,
    cache: int,
) -> None:
    before, engine_module.CHUNK_TOKENS = engine_module.CHUNK_TOKENS, chunk
    try:
        engine = Engine(*parts, CONTEXT, sequences=2, cache_bytes=cache)
    finally:
        engine_module.CHUNK_TOKENS = before
    coming = []
    for number, (shared, own, count, delay, left) in enumerate(wishes):
        prompt = BASE[:shared] + [(7 * number + i) % 250 for i in range(own)]
        request = Request(prompt, SamplingParams(temperature=0), count, logprobs=3)
        coming.append((delay, request, shared, left))
    running: list[Any] = []
    for step in range(2000):
        for delay, request, shared, left in coming:
            if delay == step:
                terms = Terms(buffer=100, boundaries=(shared,))
                task = engine.submit(request, Progress(len(request.prompt_ids)), terms)
                running.append((task, left))
        for task, left in running:
            if left is not None and len(task.unread) >= left:
                engine.cancel(task)
        if not engine.step() and step > 8:
            break
    for task, _ in running:
        assert task.done and task.error is None
        said, logprobs = alone(parts, task.request)
        assert list(task.unread) == said[: len(task.unread)]
        assert task.progress.logprobs == logprobs[: len(task.unread)]  # to the last bit
        assert len(task.unread) == len(said) or task.progress.finish_reason == "cancelled"


def test_a_long_conversation_is_answered_as_if_each_turn_were_new(parts: tuple[Any, Any]) -> None:
    engine = Engine(*parts, CONTEXT)
    history = list(BASE[:90])
    for turn in range(5):
        request = Request(history, SamplingParams(temperature=0), 20, logprobs=1)
        progress = Progress(len(history))
        said = list(engine.generate(request, progress))
        assert (said, progress.logprobs) == alone(parts, request)
        assert progress.cached_tokens == (0 if not turn else len(history) - 9)
        history += [*said, *BASE[200 + 8 * turn : 208 + 8 * turn]]
