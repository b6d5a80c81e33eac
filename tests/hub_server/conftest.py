"""A model hub on 127.0.0.1 that speaks Hugging Face's protocol, as far as a download needs it.

What it serves, refuses, cuts or delays is for the test to set. Large files redirect to a second
path, as the hub redirects to its store.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

COMMIT = "c0ffee" + "0" * 34


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repo:
    """One repository. Files ending in .gguf or .safetensors are in large storage."""

    files: dict[str, bytes]
    commit: str = COMMIT
    gated: bool = False  # listed to everybody, served to who has the token
    private: bool = False
    stated_bytes: dict[str, int] = field(default_factory=dict)  # a listing that lies
    stated_etag: dict[str, str] = field(default_factory=dict)

    def listing(self) -> dict[str, Any]:
        siblings = []
        for path, data in self.files.items():
            size = self.stated_bytes.get(path, len(data))
            entry: dict[str, Any] = {"rfilename": path, "size": size, "blobId": git_id(data)}
            if path.endswith((".gguf", ".safetensors")):
                etag = self.stated_etag.get(path, sha256(data))
                entry["lfs"] = {"sha256": etag, "size": size, "pointerSize": 130}
            elif path in self.stated_etag:
                entry["blobId"] = self.stated_etag[path]
            siblings.append(entry)
        return {"id": "", "modelId": "", "sha": self.commit, "siblings": siblings, "tags": []}


class LocalHub(http.server.ThreadingHTTPServer):
    daemon_threads = True
    TOKEN = "hf_local"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.repos: dict[str, Repo] = {}
        self.ranges = True
        self.refusals: list[tuple[int, dict[str, str]]] = []  # answered first, one a request
        self.cut_after: list[int] = []  # bytes after which the next downloads break off
        self.holds = threading.Event()  # while clear, downloads wait half-way
        self.holds.set()
        self.half_sent = threading.Event()
        self.hits: Counter[str] = Counter()
        self.ranges_asked: list[str | None] = []
        self.tokens_at_store: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes], **facts: Any) -> Repo:
        """Publish a repository; `facts` are fields of Repo."""
        self.repos[name] = Repo(files, **facts)
        return self.repos[name]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


class _Answer(http.server.BaseHTTPRequestHandler):
    server: LocalHub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.hits[path] += 1
        if self.server.refusals:
            status, headers = self.server.refusals.pop(0)
            self._send(status, b"", headers)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?", path):
            self._list(match[1])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[3], body)
        elif match := re.fullmatch(r"/store/([^/]+/[^/]+)/(.+)", path):
            self.server.tokens_at_store.append(self.headers.get("Authorization"))
            self._stream(self.server.repos[match[1]].files[match[2]], body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _list(self, name: str) -> None:
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and not self._known()):
            headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            self._send(401, b'{"error":"Repository not found"}', headers)  # as the hub hides them
            return
        self._send(200, json.dumps(repo.listing()).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, file: str, body: bool) -> None:
        repo = self.server.repos.get(name)
        if repo is None or file not in repo.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif repo.gated and not self._known():
            self._send(401, b"", {"X-Error-Code": "GatedRepo"})
        elif file.endswith((".gguf", ".safetensors")):
            data = repo.files[file]
            store = self.server.url.replace("127.0.0.1", "localhost")  # another host, to a client
            headers = {
                "Location": f"{store}/store/{name}/{file}",
                "X-Repo-Commit": repo.commit,
                "X-Linked-Etag": f'"{sha256(data)}"',
                "X-Linked-Size": str(len(data)),
            }
            self._send(302, b"", headers)
        else:
            self._stream(repo.files[file], body)

    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.server.TOKEN}"

    def _stream(self, data: bytes, body: bool) -> None:
        asked = self.headers.get("Range") if self.server.ranges else None
        self.server.ranges_asked.append(self.headers.get("Range"))
        first, last = 0, len(data) - 1
        if asked:
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
        part = data[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        if not body:
            return
        if self.server.cut_after:
            self.wfile.write(part[: self.server.cut_after.pop(0)])
            self.close_connection = True
            return
        half = len(part) // 2
        self.wfile.write(part[:half])
        self.wfile.flush()
        self.server.half_sent.set()
        self.server.holds.wait(30)
        self.wfile.write(part[half:])

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, with nothing of this machine's showing through."""
    for name in list(os.environ):
        if name.startswith(("HF_", "INGLE_", "OLLAMA_", "HUGGING")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub that serves until the test ends; everything that asks for one asks this."""
    with LocalHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.holds.set()
            server.shutdown()
            thread.join()
