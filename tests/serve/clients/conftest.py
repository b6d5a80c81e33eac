"""Models behind true sockets, for the clients that people use."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ingle.serve.rack import Place, Rack

HARMONY = Path(__file__).parents[2] / "harmony" / "scripted_harmony.py"


@pytest.fixture
def url(app: Any, serve: Callable[[Any], str]) -> str:
    """The scripted model of `script`, behind a socket."""
    return serve(app)


@pytest.fixture(scope="session")
def harmony_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripted_harmony", HARMONY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gpt_oss(harmony_module: ModuleType, serve: Callable[[Any], str]) -> Callable[..., Any]:
    """Serves a gpt-oss, as "gpt-oss:20b", that says `replies`: (its URL, its backend)."""

    def begin(replies: Sequence[str], **settings: Any) -> tuple[str, Any]:
        llm = harmony_module.ScriptedLLM(replies=replies, **settings)
        return serve(Rack([Place("gpt-oss:20b", lambda: llm, llm)])), llm.backend

    return begin
