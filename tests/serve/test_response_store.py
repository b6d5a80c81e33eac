"""Responses are kept, across restarts, within bounds; what cannot be kept is told."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from ingle.chat.message import Message, ToolCall
from ingle.errors import IngleError
from ingle.serve.responses.store import Kept, ResponseStore, StoreError

HISTORY = (
    Message("user", "grüße \ud800"),
    Message("assistant", "", tool_calls=(ToolCall("f", "{}", "call_1"),), reasoning="Hm."),
)


def response(number: int, size: int = 10) -> Kept:
    return Kept({"id": f"resp_{number}", "text": f"{number}" * size}, [{"id": "msg_1"}], HISTORY)


def test_a_response_comes_back_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "new" / "responses.sqlite"
    store = ResponseStore(path)
    store.put(response(1))
    store.close()
    again = ResponseStore(path)
    assert again.get("resp_1") == response(1) and len(again) == 1
    assert again.get("resp_2") is None
    assert again.delete("resp_1") and not again.delete("resp_1")
    assert again.get("resp_1") is None and len(again) == 0
    again.close()


def test_the_oldest_go_first() -> None:
    store = ResponseStore(max_responses=3)
    for number in range(5):
        store.put(response(number))
    assert [store.get(f"resp_{n}") is not None for n in range(5)] == [False, False] + [True] * 3
    small = ResponseStore(max_bytes=1000)
    for number in range(50):
        small.put(response(number))
    assert small.get("resp_49") is not None and len(small) < 10


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no database" * 100)
    with pytest.raises(IngleError, match="store of responses"):
        ResponseStore(garbage)
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as base:
        base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(IngleError, match="version 1, but got 99"):
        ResponseStore(newer)


def test_damage_and_a_full_disk_are_told(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    store = ResponseStore(path)
    store.put(response(1))
    with sqlite3.connect(path) as base:
        base.execute("UPDATE responses SET body = x'00'")
    base.close()
    with pytest.raises(StoreError):
        store.get("resp_1")
    store._base.execute(f"PRAGMA max_page_count = {_pages(store)}")  # as full as it is
    with pytest.raises(StoreError, match="full"):
        store.put(Kept({"id": "resp_2", "text": random.Random(1).randbytes(50_000).hex()}, [], ()))
    assert store.get("resp_2") is None and len(store) == 1
    store.close()


def _pages(store: ResponseStore) -> int:
    (count,) = store._base.execute("PRAGMA page_count").fetchone()
    return int(count)
