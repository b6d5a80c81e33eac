"""Owns where conversations are kept: one SQLite file in ingle's folder.

It does not know what a conversation is for. Everything is written in one transaction a turn, so a
killed program loses at most the answer in progress.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ingle.cli.session import Messages, Session
from ingle.errors import IngleError

_VERSION = 2
_WAIT_S = 5.0
_SCHEMA = """
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    name TEXT UNIQUE,
    model TEXT NOT NULL,
    system TEXT,
    messages TEXT NOT NULL,
    updated TEXT NOT NULL,
    chosen TEXT NOT NULL DEFAULT '{}'
)
"""
_FROM_1 = "ALTER TABLE conversations ADD COLUMN chosen TEXT NOT NULL DEFAULT '{}'"
_ROLES = {"user", "assistant"}


class Archive:
    """The conversations in one file, which is made when the first of them is saved.

    Every method raises IngleError when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, session: Session) -> None:
        """Keep `session` as it stands; its name goes over from whoever had it."""
        if not session.messages:
            return
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        said = json.dumps(session.messages, ensure_ascii=False)
        chosen = json.dumps(session.chosen, ensure_ascii=False)
        row = (session.saved_id, session.name, session.model, session.system, said, now, chosen)
        with self._opened() as database:
            free = "UPDATE conversations SET name = NULL WHERE name = ? AND id IS NOT ?"
            database.execute(free, (session.name, session.saved_id))
            put = "INSERT OR REPLACE INTO conversations VALUES (?, ?, ?, ?, ?, ?, ?)"
            session.saved_id = database.execute(put, row).lastrowid

    def restore(self, session: Session, name: str | None = None) -> bool:
        """Give `session` what the one of that name said, by default the latest; False if none."""
        if not self._path.exists():
            return False
        which = "ORDER BY updated DESC LIMIT 1" if name is None else "WHERE name = ?"
        columns = "id, name, model, system, messages, chosen"
        with self._opened() as database:
            found = database.execute(
                f"SELECT {columns} FROM conversations {which}", () if name is None else (name,)
            ).fetchone()
        if found is None:
            return False
        messages = self._messages(found[4])
        self._resume(session, found[5])
        session.saved_id, session.name, session.model, session.system = found[:4]
        session.messages = messages
        return True

    def names(self) -> list[str]:
        """Names that were given, the latest first."""
        if not self._path.exists():
            return []
        named = "SELECT name FROM conversations WHERE name IS NOT NULL ORDER BY updated DESC"
        with self._opened() as database:
            return [name for (name,) in database.execute(named)]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The database in a transaction, which is kept unless the block raises."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(0o600)
            with (
                contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as database,
                database,
            ):
                self._prepare(database)
                yield database
        except (sqlite3.Error, OSError) as error:
            said = " ".join(str(error).split())[:200]
            rule = f"the file of conversations must be usable, but got: {said}"
            raise IngleError(
                str(self._path), rule, "move it away, and a new one is begun"
            ) from None

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("BEGIN IMMEDIATE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            database.execute(_SCHEMA)
            database.execute(f"PRAGMA user_version = {_VERSION}")
        elif version == 1:
            database.execute(_FROM_1)
            database.execute(f"PRAGMA user_version = {_VERSION}")
        elif version != _VERSION:
            rule = f"the file must be of version {_VERSION}, but got {version}"
            raise IngleError(str(self._path), rule, "a newer ingle wrote it: use that one")

    def _messages(self, text: object) -> Messages:
        """What was said, out of its JSON. Raises IngleError if something else stands there."""
        with contextlib.suppress(AttributeError, TypeError, ValueError, RecursionError):
            said = json.loads(str(text))
            if all(
                {"role", "content"} <= one.keys() <= {"role", "content", "cut"}
                and one["role"] in _ROLES
                and all(isinstance(text, str) for text in one.values())
                for one in said
            ):
                return list(said)
        raise self._damaged("a list of messages")

    def _resume(self, session: Session, text: object) -> None:
        with contextlib.suppress(AttributeError, TypeError, ValueError, RecursionError):
            session.resume(json.loads(str(text)))  # an IngleError is a ValueError
            return
        raise self._damaged("kept with settings that ingle has")

    def _damaged(self, what: str) -> IngleError:
        rule = f"a conversation must be {what}, but got something else"
        return IngleError(str(self._path), rule, "begin a new one, without -c or /load")
