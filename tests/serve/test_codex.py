"""Codex CLI edits a file through the server: the agent is real, gpt-oss follows a script."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from ingle.serve.app import create_app
from ingle.serve.rack import Place, Rack

sys.path.insert(0, str(Path(__file__).parent))
from harmony_script import ServedHarmony

pytestmark = pytest.mark.slow

CODEX = os.environ.get("INGLE_CODEX") or shutil.which("codex")
CONFIG = """
model = "gpt-oss:20b"
model_provider = "ingle"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.ingle]
name = "ingle"
base_url = "{url}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""
THOUGHT = "<|channel|>analysis<|message|>I edit it with sed.<|end|><|start|>assistant"
RESULT = "<|start|>functions.exec_command to=assistant"


def reply(asked: str, prompt: str) -> str:
    """First the edit, then the answer."""
    if RESULT in prompt:
        return "<|channel|>final<|message|>I changed hello to goodbye."
    command = json.dumps({"cmd": "sed -i s/hello/goodbye/ greeting.txt"})
    header = "<|channel|>commentary to=functions.exec_command <|constrain|>json<|message|>"
    return f"{THOUGHT}{header}{command}<|call|>"


@pytest.fixture
def served() -> Iterator[tuple[str, ServedHarmony]]:
    with ServedHarmony(reply, context=65_536) as model:
        app = create_app(Rack([Place("gpt-oss:20b", lambda: model, model)]))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", model
            server.should_exit = True
            thread.join()


@pytest.mark.skipif(
    CODEX is None,
    reason="Codex CLI is not installed: npm install -g @openai/codex, or name it in INGLE_CODEX",
)
def test_codex_edits_a_file(tmp_path: Path, served: tuple[str, ServedHarmony]) -> None:
    url, model = served
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (home / "config.toml").write_text(CONFIG.format(url=url))
    (work / "greeting.txt").write_text("hello\n")
    assert CODEX is not None
    done = subprocess.run(
        [CODEX, "exec", "--skip-git-repo-check", "-s", "danger-full-access", "--json",
         "Change hello to goodbye in greeting.txt"],
        cwd=work,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "CODEX_HOME": str(home),
            "HTTPS_PROXY": "http://127.0.0.1:9",  # nobody there: nothing else is spoken to
            "HTTP_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (work / "greeting.txt").read_text() == "goodbye\n"
    assert "I changed hello to goodbye." in done.stdout
    assert len(model.script.prompts) == 2
    assert "I edit it with sed." in model.script.prompts[1]  # the reasoning behind the call
