"""A real server process that is killed while it keeps prefixes, or whose disk is full."""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingle.runtime import prefix_file

TEXT = "How are you, and how is the weather over there by the sea, where the ships come in? "


class Server:
    """`ingle serve` over a folder of prefixes; log: what it said so far."""

    http: httpx.Client

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = ""
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def client(self) -> httpx.Client:
        self.until_said("OpenAI: ")
        url = self.log.split("OpenAI: ")[1].split()[0]
        return httpx.Client(base_url=url, timeout=60)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line

    def until_said(self, words: str) -> None:
        for _ in range(3000):
            if words in self.log:
                return
            time.sleep(0.02)
        raise AssertionError(f"it did not say {words}: {self.log}")

    def ask(self, text: str) -> dict[str, Any]:
        asked = {
            "messages": [{"role": "user", "content": text}],
            "temperature": 0,
            "max_tokens": 24,
        }
        answer = self.http.post("chat/completions", json=asked)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said


@contextmanager
def serving(model: Path, cache: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "ingle.cli", "serve", str(model), "--port", "0"]
    command += ["--threads", "1", "--cache-dir", str(cache)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        server = Server(process)
        try:
            with server.client() as server.http:
                yield server
        finally:
            process.terminate()
            server.listener.join()  # until the process has nothing more to say


def whole(folder: Path) -> list[Path]:
    """Pages kept; each can be read."""
    pages = sorted(folder.rglob("*.kv"))
    for page in pages:
        prefix_file.read_header(page)
    return pages


def test_killed_while_it_writes_it_starts_again_with_what_was_whole(
    scripted_folder: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with serving(scripted_folder, cache) as server:
        first = server.ask(TEXT)
        while not list(cache.rglob("*.kv")):  # its first page, by a thread of its own
            time.sleep(0.02)
        with contextlib.suppress(httpx.HTTPError):
            for number in range(1000):
                server.ask(f"{number} {TEXT}")
                if list(cache.rglob("*.tmp")) or number == 40:
                    server.process.kill()
    assert server.process.wait() == -9
    kept = whole(cache)
    assert kept
    halves = len(list(cache.rglob("*.tmp")))
    with serving(scripted_folder, cache) as server:
        again = server.ask(TEXT)
        if halves:
            server.until_said("was cleared away")
    assert again["choices"] == first["choices"]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert not list(cache.rglob("*.tmp"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the files of a process")
def test_a_full_disk_is_said_and_answers_go_on(scripted_folder: Path, tmp_path: Path) -> None:
    with serving(scripted_folder, tmp_path / "cache") as server:
        resource = importlib.import_module("resource")  # Windows has none
        limit = (256, resource.RLIM_INFINITY)  # bytes of any file
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limit)
        said = [server.ask(TEXT)["choices"] for _ in range(3)]
        assert said[0] == said[1] == said[2]
        server.until_said("prefixes are no longer kept on disk")
        assert server.ask(TEXT)["choices"] == said[0]
    assert not list((tmp_path / "cache").rglob("*.kv"))
