"""Requests made from the server's own OpenAPI (schemathesis): never a fault of its own."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

Script = Any

# What ends the server or unloads its model, asks the network, or changes what lies on this machine.
LEFT_OUT = ("/ingle/stop", "/api/pull", "/api/create", "/api/copy", "/api/delete")


def try_all(app: Any, count: int) -> Counter[int]:
    """So many requests to each operation; how often which status was answered."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    statuses: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.startswith(LEFT_OUT):
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try_one(operation, mode, count, statuses)
    return statuses


def try_one(operation: Any, mode: GenerationMode, count: int, statuses: Counter[int]) -> None:
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        answer = case.call()
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, f"{case.as_curl_command()}\n{answer.text[:500]}"

    with contextlib.suppress(Unsatisfiable):  # nothing can be wrong where nothing is taken
        ask()


@pytest.fixture
def alone(app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], Any]:
    """Tries the application with folders of its own."""
    for name in ("INGLE_HOME", "INGLE_MODELS", "OLLAMA_MODELS", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("INGLE_OFFLINE", "1")
    return lambda count: try_all(app, count)


def test_no_fault_of_its_own(alone: Callable[[int], Any]) -> None:
    statuses = alone(4)
    assert statuses[200] and statuses[400]


@pytest.mark.slow
def test_no_fault_of_its_own_in_thousands_of_cases(alone: Callable[[int], Any]) -> None:
    statuses = alone(int(os.environ.get("INGLE_EXAMPLES", "250")))
    assert sum(statuses.values()) >= 5000
    print(dict(statuses))
