"""Prefixes on disk: warm after a restart, exact, never fatal."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingle.errors import FileFormatError, IngleError
from ingle.runtime import (
    Engine,
    PrefixStore,
    Progress,
    Request,
    SamplingParams,
    prefix_file,
    prefix_store,
)

sys.path.insert(0, str(Path(__file__).parent))
from paper_model import PaperBackend, answer, paper_model

WINDOWS = (0, 100)
BASE = [(i * i + 3 * i) % 89 for i in range(400)]


def opened(folder: Path, limit: int = 1 << 30, model: str = "m", kv_type: str = "f16") -> Engine:
    backend: Any = PaperBackend()
    engine = Engine(paper_model(WINDOWS), backend, 512, kv_type=kv_type)
    engine.keep_prefixes(PrefixStore(folder, limit, model))
    return engine


def closed(engine: Engine) -> None:
    store = engine.scheduler.store
    assert store is not None
    while engine.saving:
        engine.save_prefix()
    store.close()


def ask(engine: Engine, prompt: list[int], count: int = 8) -> Progress:
    progress = Progress(len(prompt))
    request = Request(prompt, SamplingParams(temperature=0), max_tokens=count)
    assert list(engine.generate(request, progress)) == answer(WINDOWS, prompt, count)
    return progress


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kv"))


def test_a_restart_is_warm(tmp_path: Path) -> None:
    first = opened(tmp_path)
    ask(first, BASE[:200], 30)
    closed(first)
    assert files(tmp_path) and not list(tmp_path.rglob("*.tmp"))
    second = opened(tmp_path)
    said = answer(WINDOWS, BASE[:200], 30)
    assert ask(second, [*BASE[:200], *said, 1, 2, 3]).cached_tokens == 229
    assert ask(second, [*BASE[:200], 5, 6, 7]).cached_tokens == 200  # another answer to it
    closed(second)


def test_another_model_shares_nothing(tmp_path: Path) -> None:
    first = opened(tmp_path)
    ask(first, BASE[:200])
    closed(first)
    second = opened(tmp_path, model="other")
    assert ask(second, BASE[:200]).cached_tokens == 0
    closed(second)


@pytest.mark.parametrize(("first_type", "then"), [("f16", "f32"), ("f32", "f16")])
def test_pages_of_another_type_are_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first_type: str, then: str
) -> None:
    first = opened(tmp_path, kv_type=first_type)
    ask(first, BASE[:200])
    closed(first)
    second = opened(tmp_path, kv_type=then)
    assert ask(second, BASE[:200]).cached_tokens == 0
    assert "a prefix on disk was dropped" in caplog.text
    closed(second)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1 << 30), st.sampled_from(["flip", "cut", "empty", "grow", "swap", "gone"]))
def test_damage_is_dropped_and_said_and_never_fatal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int, how: str
) -> None:
    draw = random.Random(seed)
    folder = tmp_path / str(seed) / how
    first = opened(folder)
    ask(first, BASE[:200], 30)
    closed(first)
    second = opened(folder) if draw.random() < 0.5 else None  # damaged before or after the start
    path = draw.choice(files(folder))
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif how == "cut":
        del data[draw.randrange(len(data)) :]
    elif how == "empty":
        data.clear()
    elif how == "grow":
        data += b"more"
    elif how == "swap":
        data = bytearray(draw.choice(files(folder)).read_bytes())
    path.unlink() if how == "gone" else path.write_bytes(data)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        engine = second or opened(folder)
        ask(engine, [*BASE[:200], *answer(WINDOWS, BASE[:200], 30), 1, 2, 3])  # checks the answer
    closed(engine)
    for path in files(folder):
        prefix_file.read_header(path)


def test_the_folder_stays_within_its_limit(tmp_path: Path) -> None:
    engine = opened(tmp_path, limit=20_000)
    for number in range(10):
        ask(engine, [number, *BASE[:150]])
        while engine.saving:
            engine.save_prefix()
    closed(engine)
    assert 0 < sum(path.stat().st_size for path in files(tmp_path)) <= 20_000
    again = opened(tmp_path, limit=20_000)
    assert ask(again, [9, *BASE[:150]]).cached_tokens > 100  # the last one is still there
    closed(again)


def test_a_full_disk_ends_keeping_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prefix_store, "write_page", full)
    engine = opened(tmp_path)
    with caplog.at_level(logging.WARNING):
        ask(engine, BASE[:200])
        closed(engine)
    assert "no longer kept on disk" in caplog.text and "No space left" in caplog.text
    ask(engine, BASE[:200])


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    closed(opened(tmp_path))
    (tmp_path / "m" / "abc.kv.123.tmp").write_bytes(b"half")
    closed(opened(tmp_path))
    assert list((tmp_path / "m").iterdir()) == []


WRITER = """
import sys
from pathlib import Path
import numpy as np
from ingle.runtime.prefix_file import PageHeader, write_page
from ingle.runtime.prefix_store import _digest
folder = Path(sys.argv[1])
made = np.arange(1 << 18, dtype=np.float32)
arrays = [(made.reshape(1, 64, 64, 64), made.reshape(1, 64, 64, 64))]
for i in range(1 << 30):
    tokens = tuple(range(i, i + 64))
    header = PageHeader("m", "f32", "", tokens, (0,))
    write_page(folder / f"{_digest('', tokens)}.kv", header, arrays)
    print(i, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_pages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    command = [sys.executable, "-c", WRITER, str(folder)]
    for delay_s in (0.0, 0.003, 0.007, 0.013, 0.02):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(3):
                child.stdout.readline()
            time.sleep(delay_s)
            child.kill()
    halves = list(folder.glob("*.tmp"))
    whole = files(folder)
    with caplog.at_level(logging.WARNING):
        PrefixStore(tmp_path, 1 << 30, "m").close()
    assert len(whole) >= 3 and files(folder) == whole and not list(folder.glob("*.tmp"))
    assert caplog.text.count("cleared away") == len(halves)
    for path in whole:
        prefix_file.read_page(path, prefix_file.read_header(path), [(1, 64, 64)])


def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(IngleError, match="the folder must be writable"):
        PrefixStore(tmp_path / "file", 1, "m")


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.kv"
    for start in (b"", prefix_file.MAGIC, prefix_file.MAGIC + b"\x10\0\0\0" + b"x" * 32):
        path.write_bytes(start + data)
        with pytest.raises(FileFormatError):
            prefix_file.read_header(path)
