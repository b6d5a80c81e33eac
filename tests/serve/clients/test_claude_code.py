"""Claude Code, Anthropic's agent for the terminal, edits a file with a scripted gpt-oss."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingle.tokenizer import o200k_harmony

PROGRAM = shutil.which("claude")
CALL = "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>{}<|call|>"
THINK = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>{}<|return|>"
CONTEXT = 65_536  # its instructions and tools alone are some 16,000 tokens

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PROGRAM is None,
        reason="the program `claude` is not installed: npm install -g @anthropic-ai/claude-code",
    ),
]


def run(url: str, folder: Path, home: Path, prompt: str) -> dict[str, Any]:
    """What the agent says at its end. Nothing but the server can be reached."""
    own = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }
    command = [str(PROGRAM), "-p", prompt, "--model", "gpt-oss:20b", "--allowedTools", "Read,Edit"]
    ended = subprocess.run(
        [*command, "--output-format", "json"],
        cwd=folder,
        env=own,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
    )
    assert ended.returncode == 0, (ended.stdout, ended.stderr)
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def test_a_file_is_edited(gpt_oss: Callable[..., Any], tmp_path: Path) -> None:
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    file = folder / "hello.txt"
    file.write_text("hello world\n")
    edit = {"file_path": str(file), "old_string": "world", "new_string": "ingle"}
    url, backend = gpt_oss(
        [
            THINK.format("I read the file first.")
            + CALL.format("Read", json.dumps({"file_path": str(file)})),
            THINK.format("Now I edit it.") + CALL.format("Edit", json.dumps(edit)),
            FINAL.format("It greets ingle now."),
        ],
        context=CONTEXT,
    )
    told = run(url, folder, home, "Replace world by ingle in hello.txt")
    assert told["result"] == "It greets ingle now."
    assert file.read_text() == "hello ingle\n"
    first, second, third = backend.prompts
    assert second[: len(first)] == first  # a turn goes on where the one before it ended
    text = o200k_harmony().decode(third)
    for thought in ("I read the file first.", "Now I edit it."):  # kept until the answer
        assert f"<|channel|>analysis<|message|>{thought}<|end|>" in text
