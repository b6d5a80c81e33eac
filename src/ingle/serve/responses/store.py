"""Owns the responses that are kept, with the conversations they end: SQLite, bounded.

It does not know what a response says.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from ingle.chat.message import Message, ToolCall
from ingle.errors import IngleError

MAX_RESPONSES = 10_000
MAX_BYTES = 256 << 20
_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS responses (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT UNIQUE NOT NULL,
    created REAL NOT NULL,
    body BLOB NOT NULL,
    input BLOB NOT NULL,
    history BLOB NOT NULL
)"""
_SIZE = "length(body) + length(input) + length(history)"


_FAULTS = (sqlite3.Error, zlib.error, ValueError, TypeError, KeyError, RecursionError)


class StoreError(IngleError):
    """A response could not be kept, or read back: a full disk, a damaged file."""


@dataclass(frozen=True)
class Kept:
    """body: the response. input: its own items. history: all that was said up to its end."""

    body: dict[str, Any]
    input: list[dict[str, Any]]
    history: tuple[Message, ...]


class ResponseStore:
    """The latest responses, by id. path: a file, None for memory. Any thread may call.

    Raises IngleError for a file that is no such store, or that another version has written.
    """

    def __init__(
        self,
        path: Path | None = None,
        max_responses: int = MAX_RESPONSES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._max_responses, self._max_bytes = max_responses, max_bytes
        self._lock = Lock()
        self._num_responses, self._num_bytes = 0, 0
        self._where = ":memory:" if path is None else str(path)
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except (sqlite3.Error, OSError) as error:
            rule = f"it must be a store of responses that can be written, but got {self._where}"
            raise IngleError("--cache-dir", f"{rule}: {error!s:.120}", "move it away") from None

    def put(self, kept: Kept) -> None:
        """Keeps a response; the oldest go as far as there is no room. Raises StoreError."""
        row = (
            kept.body["id"],
            time.time(),
            _packed(kept.body),
            _packed(kept.input),
            _packed([asdict(message) for message in kept.history]),
        )
        with self._lock:
            counts = self._num_responses, self._num_bytes
            try:
                with _guarded(), self._base:
                    self._insert(row)
            except StoreError:
                self._num_responses, self._num_bytes = counts  # nothing was written
                raise

    def get(self, response_id: str) -> Kept | None:
        """A response that is kept. Raises StoreError."""
        query = "SELECT body, input, history FROM responses WHERE id = ?"
        with self._lock, _guarded():
            row = self._base.execute(query, (response_id,)).fetchone()
            if row is None:
                return None
            body, items, history = (_unpacked(part) for part in row)
            return Kept(body, items, tuple(_message(one) for one in history))

    def delete(self, response_id: str) -> bool:
        """Forgets a response; False if there was none. Raises StoreError."""
        with self._lock, _guarded(), self._base:
            query = f"SELECT {_SIZE} FROM responses WHERE id = ?"
            row = self._base.execute(query, (response_id,)).fetchone()
            if row is None:
                return False
            self._base.execute("DELETE FROM responses WHERE id = ?", (response_id,))
            self._num_bytes -= row[0]
            self._num_responses -= 1
        return True

    def close(self) -> None:
        """Gives the file back."""
        with self._lock:
            self._base.close()

    def __len__(self) -> int:
        return self._num_responses

    def _open(self) -> None:
        self._base = sqlite3.connect(self._where, check_same_thread=False, timeout=5)
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            self._base.close()
            rule = f"it must be of version {_VERSION}, but got {version} in {self._where}"
            raise IngleError("--cache-dir", rule, "move it away")
        with self._base:
            self._base.execute(_TABLE)
            self._base.execute(f"PRAGMA user_version = {_VERSION}")
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")
        query = f"SELECT count(*), coalesce(sum({_SIZE}), 0) FROM responses"
        count, size = self._base.execute(query).fetchone()
        self._num_responses, self._num_bytes = int(count), int(size)

    def _insert(self, row: tuple[Any, ...]) -> None:
        query = "INSERT INTO responses (id, created, body, input, history) VALUES (?, ?, ?, ?, ?)"
        self._base.execute(query, row)
        self._num_bytes += sum(len(part) for part in row[2:])
        self._num_responses += 1
        while self._num_responses > self._max_responses or self._num_bytes > self._max_bytes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        query = f"SELECT number, {_SIZE} FROM responses ORDER BY number LIMIT 1"
        number, size = self._base.execute(query).fetchone()
        self._base.execute("DELETE FROM responses WHERE number = ?", (number,))
        self._num_responses -= 1
        self._num_bytes -= size


@contextmanager
def _guarded() -> Iterator[None]:
    """A store that cannot be read or written is told of, and is no bug."""
    try:
        yield
    except _FAULTS as error:
        rule = f"the store of responses must be readable and writable, but got: {error!s:.120}"
        raise StoreError("store", rule, 'say "store": false') from None


def _packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, ensure_ascii=True).encode(), 1)


def _unpacked(data: bytes) -> Any:
    return json.loads(zlib.decompress(data))


def _message(fields: dict[str, Any]) -> Message:
    calls: Sequence[dict[str, Any]] = fields["tool_calls"]
    return Message(**{**fields, "tool_calls": tuple(ToolCall(**call) for call in calls)})
