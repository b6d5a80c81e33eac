"""Conversations that are kept: what is saved comes back, damaged files are told."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.cli.archive import Archive
from ingle.cli.session import Session
from ingle.errors import IngleError


def session(*said: str, name: str | None = None, system: str | None = None) -> Session:
    made = Session("a:b", {}, system=system, name=name)
    for prompt in said:
        made.add(prompt, f"re: {prompt}")
    return made


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "home" / "conversations.db")


def restored(archive: Archive, name: str | None = None) -> Session | None:
    made = Session("other", {})
    return made if archive.restore(made, name) else None


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(words, min_size=1, max_size=4), words | st.none(), words | st.none())
def test_what_is_saved_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    said: list[str],
    name: str | None,
    system: str | None,
) -> None:
    archive = Archive(tmp_path_factory.mktemp("home") / "conversations.db")
    kept = session(*said, name=name, system=system)
    archive.save(kept)
    for found in (restored(archive), restored(archive, name)):
        assert found is not None
        assert (found.model, found.messages, found.system) == ("a:b", kept.messages, system)
        assert (found.name, found.saved_id) == (name, kept.saved_id)


def test_nothing_is_made_before_something_was_said(archive: Archive, tmp_path: Path) -> None:
    archive.save(session())
    assert restored(archive) is None and archive.names() == []
    assert list(tmp_path.iterdir()) == []


def test_a_conversation_that_goes_on_stays_one(archive: Archive) -> None:
    kept = session("First")
    archive.save(kept)
    kept.add("Second", "Yes")
    kept.name = "one"
    archive.save(kept)
    archive.save(session("Another"))
    found = restored(archive, "one")
    assert found is not None and found.messages == kept.messages
    assert archive.names() == ["one"]
    latest = restored(archive)
    assert latest is not None and latest.messages[0]["content"] == "Another"


def test_a_name_goes_over_to_the_latest(archive: Archive) -> None:
    archive.save(session("First", name="same"))
    archive.save(session("Second", name="same"))
    found = restored(archive, "same")
    assert found is not None and found.messages[0]["content"] == "Second"
    assert archive.names() == ["same"]
    assert restored(archive, "else") is None


def test_a_file_of_the_first_version_is_taken_over(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "home" / "conversations.db"
    path.parent.mkdir()
    database = sqlite3.connect(path)
    with database:
        columns = "name TEXT UNIQUE, model TEXT NOT NULL, system TEXT, messages TEXT NOT NULL"
        database.execute(
            f"CREATE TABLE conversations (id INTEGER PRIMARY KEY, {columns}, updated TEXT NOT NULL)"
        )
        said = '[{"role": "user", "content": "First"}]'
        values = "(1, NULL, 'a:b', NULL, ?, '2026')"
        database.execute(f"INSERT INTO conversations VALUES {values}", (said,))
        database.execute("PRAGMA user_version = 1")
    database.close()
    found = restored(archive)
    assert found is not None and found.messages[0]["content"] == "First"
    assert found.chosen == {}
    found.choose("top_k", 3)
    archive.save(found)
    again = restored(archive)
    assert again is not None and again.sampling == {"top_k": 3}


def test_the_file_is_its_owners_alone(archive: Archive, tmp_path: Path) -> None:
    archive.save(session("First"))
    mode = (tmp_path / "home" / "conversations.db").stat().st_mode
    assert mode & 0o077 == 0


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE conversations SET messages = '5'",
        "UPDATE conversations SET messages = '[5]'",
        'UPDATE conversations SET messages = \'[{"role": "user"}]\'',
        'UPDATE conversations SET messages = \'[{"role": "x", "content": ""}]\'',
        "UPDATE conversations SET messages = x'ff'",
        "DROP TABLE conversations",
        "PRAGMA user_version = 3",
        "UPDATE conversations SET chosen = '5'",
        "UPDATE conversations SET chosen = '{\"wings\": 2}'",
        'UPDATE conversations SET chosen = \'{"seed": "x"}\'',
        "UPDATE conversations SET chosen = '{\"temperature\": NaN}'",
    ],
)
def test_damage_is_told(archive: Archive, tmp_path: Path, spoil: str) -> None:
    archive.save(session("First"))
    database = sqlite3.connect(tmp_path / "home" / "conversations.db")
    with database:
        database.execute(spoil)
    database.close()
    with pytest.raises(IngleError, match=r"conversations\.db"):
        archive.restore(Session("a:b", {}))


def test_a_file_that_is_no_database_is_told_and_kept(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "home" / "conversations.db"
    path.parent.mkdir()
    path.write_bytes(b"letters to home" * 100)
    for use in (archive.names, lambda: archive.save(session("First"))):
        with pytest.raises(IngleError, match="move it away"):
            use()
    assert path.read_bytes() == b"letters to home" * 100


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(IngleError, match="must be usable"):
        Archive(tmp_path / "home" / "conversations.db").save(session("First"))
