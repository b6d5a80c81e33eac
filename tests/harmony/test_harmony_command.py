"""`ingle harmony`: a conversation file in, ids out; ids in, events out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingle.cli.harmony import app

RUNNER = CliRunner()


def run(*args: str, piped: str | bytes = "") -> Any:
    return RUNNER.invoke(app, args, input=piped)


def test_a_file_is_rendered_as_the_library_does(vectors: dict[str, Any], tmp_path: Path) -> None:
    asked = [v for v in vectors["render"] if v["mode"] == "completion" and "expected_tokens" in v]
    asked = [v for v in asked if v["next_role"] == "assistant"]
    assert len(asked) > 10
    for vector in asked:
        file = tmp_path / "talk.json"
        keys = ("messages", "auto_drop_analysis")
        file.write_text(json.dumps({key: vector[key] for key in keys}))
        assert json.loads(run("render", str(file), "--ids").stdout) == vector["expected_tokens"]
        assert run("render", str(file), "--text").stdout == vector["expected_text"] + "\n"
        assert run("render", "-", piped=file.read_text()).stdout == vector["expected_text"] + "\n"


def test_ids_are_read_as_events(vectors: dict[str, Any], tmp_path: Path) -> None:
    vector = next(v for v in vectors["parse"] if v["name"] == "p25_preamble_then_call")
    file = tmp_path / "ids.json"
    file.write_text(json.dumps(vector["tokens"]))
    ended = run("parse", str(file), "--verbose")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    ends = [event for event in events if event["event"] == "MessageEnd"]
    assert [(e["channel"], e.get("recipient"), e["content"]) for e in ends] == [
        (m["channel"], m.get("recipient"), m["content"]) for m in vector["messages"]
    ]
    assert [i for event in events for i in event["ids"]] == vector["tokens"]
    assert json.loads(ended.stderr) == {"harmony_repairs": 0, "by_rule": {}}
    in_words = run("parse", piped=" ".join(map(str, vector["tokens"])))
    assert in_words.stdout == ended.stdout


def test_what_is_rendered_can_be_read(vectors: dict[str, Any]) -> None:
    talk = json.dumps({"messages": vectors["render"][3]["messages"]})
    ids = run("render", "-", "--ids", piped=talk).stdout
    events = [json.loads(line) for line in run("parse", piped=ids).stdout.splitlines()]
    roles = [event["role"] for event in events if event["event"] == "MessageStart"]
    assert roles == ["system", "developer", "user", "assistant", "assistant", "tool"]


@pytest.mark.parametrize(
    ("command", "piped", "told"),
    [
        ("parse", "1 two", "[ids] an id is a whole number, but got 'two'."),
        ("parse", "[1, 2", "[ids] they are a JSON array"),
        ("parse", "[true]", "[ids] an id is a whole number, but got True."),
        ("parse", b"\xff", "[stdin] it is UTF-8, but got another byte at offset 0."),
        ("render", "[]", "[conversation] it is an object, but got []."),
    ],
)
def test_what_is_wrong_is_told_in_a_line(command: str, piped: str | bytes, told: str) -> None:
    ended = run(command, "-", piped=piped)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(told)


def test_a_missing_file_and_two_forms_are_told() -> None:
    assert "must be readable" in run("parse", "nowhere.json").stderr
    assert "one form is shown" in run("render", "-", "--ids", "--text").stderr
