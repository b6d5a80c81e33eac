"""`ingle run` with tools, formats and captures, over a gpt-oss that follows a script."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ingle.cli.editor import PROMPT

CALLING = "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>{}<|call|>"
THINK = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>{}<|return|>"
REPLIES = [
    THINK.format("I look at the weather.") + CALLING.format("weather", '{"city": "Rome"}'),
    THINK.format("Now a table.") + CALLING.format("book", '{"city": "Rome", "hours": [12, 12]}'),
    CALLING.format("book", '{"city": "Rome", "hours": [12, 13]}'),
    THINK.format("Nothing is free.") + FINAL.format("Sunny, but no table is free."),
]
TOOLS = '''
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"

def book(city: str, hours: set[int]) -> str:
    """Book a table."""
    raise RuntimeError(f"no table in {city} at {sorted(hours)}")

def _hidden() -> int:
    return 1
'''
SHOWN = """\
I look at the weather.
call weather {"city": "Rome"}
  -> sunny in Rome
Now a table.
call book {"city": "Rome", "hours": [12, 12]}
  -> Error: $.hours must follow the schema, but got: [12, 12] has non-unique elements

call book {"city": "Rome", "hours": [12, 13]}
  -> Error: RuntimeError: no table in Rome at [12, 13]
Nothing is free.

"""
QUESTION = "[y/N/always] "
ASKED = ("run", "A table in Rome?", "--tools", "tools.py")


@pytest.fixture
def gpt_oss(ingle: Any) -> Any:
    """`ingle` over a scripted gpt-oss, with tools.py and the script in its folder."""
    ingle.command = [sys.executable, str(Path(__file__).with_name("scripted_harmony.py"))]
    (ingle.folder / "tools.py").write_text(TOOLS)
    script(ingle, REPLIES)
    return ingle


def script(ingle: Any, replies: Sequence[str]) -> None:
    path = ingle.folder / "replies.json"
    path.write_text(json.dumps(replies))
    ingle.env |= {"SCRIPTED_HARMONY": str(path), "INGLE_HOME": str(ingle.folder / "home")}


def test_a_tool_loop_as_it_is_shown(gpt_oss: Any) -> None:
    ended = gpt_oss(*ASKED, "--yes")
    assert (ended.code, ended.out, ended.err) == (0, "Sunny, but no table is free.\n", SHOWN)
    page = Path(__file__).parents[2] / "docs" / "guide" / "tools.md"
    assert f'$ ingle run "A table in Rome?" --tools tools.py --yes\n{SHOWN}{ended.out}```' in (
        page.read_text()
    )


def test_a_tool_loop_as_json(gpt_oss: Any) -> None:
    ended = gpt_oss(*ASKED, "--yes", "--json")
    told = json.loads(ended.out)
    assert (told["text"], told["reasoning"]) == ("Sunny, but no table is free.", "Nothing is free.")
    assert [(c["name"], c["failed"]) for c in told["calls"]] == [
        ("weather", False),
        ("book", True),
        ("book", True),
    ]
    cut = json.loads(gpt_oss(*ASKED, "--yes", "--json", "--max-turns", "1").out)
    assert cut["finish_reason"] == "tool_calls" and "calls" not in cut
    assert cut["tool_calls"][0]["function"]["name"] == "weather"


def test_calls_are_approved_at_the_terminal(gpt_oss: Any) -> None:
    screen = talk(gpt_oss, ASKED, ["n", "always"])
    assert screen.count("make this call? [y/N/always]") == 2  # bad arguments are not asked about
    assert "-> The user declined this call." in screen
    assert "no table in Rome at [12, 13]" in screen
    assert "Sunny, but no table is free." in screen


def test_calls_are_approved_in_a_chat(gpt_oss: Any) -> None:
    gpt_oss.env |= {"TERM": "dumb"}
    words = ("run", "--tools", "tools.py")
    screen = talk(gpt_oss, words, ["A table in Rome?", "y", "y", "/bye"], (QUESTION, PROMPT))
    assert "-> sunny in Rome" in screen and "no table in Rome at [12, 13]" in screen
    assert "Sunny, but no table is free." in screen


def talk(
    ingle: Any, words: Sequence[str], answers: Sequence[str], asks: tuple[str, ...] = (QUESTION,)
) -> str:
    """What a terminal shows if each question is answered in turn. asks: how questions end."""
    master, slave = pty.openpty()
    waiting, screen, end = list(answers), "", time.monotonic() + 60
    with subprocess.Popen(
        [*ingle.command, *words], cwd=ingle.folder, env=ingle.env,
        stdin=slave, stdout=slave, stderr=slave,
    ) as running:  # fmt: skip
        os.close(slave)
        while time.monotonic() < end:
            if not select.select([master], [], [], 0.2)[0]:
                if running.poll() is not None:
                    break
                continue
            try:
                screen += os.read(master, 4096).decode(errors="replace")
            except OSError:  # Linux says so when the other end is closed
                break
            if waiting and screen.endswith(asks):
                os.write(master, f"{waiting.pop(0)}\n".encode())
        running.kill()
    os.close(master)
    return screen


def test_nobody_to_ask_is_told_before_any_work(gpt_oss: Any) -> None:
    ended = gpt_oss(*ASKED)
    assert ended.code == 2
    assert ended.err.startswith("[--tools] calls must be approved at a terminal, but got none.\n")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("def f(:", "[--tools] the file must run, but got SyntaxError"),
        ("raise ValueError('x')", "[--tools] the file must run, but got ValueError: x"),
        ("_x = 1", "[--tools] the file must hold functions, but got none"),
        ("def f(x):\n    pass", "[tool f] a parameter must have a type hint, but got x without"),
        ("TOOLS = [3]", "[tools] a tool is a function or an object that declares one, but got 3"),
    ],
)
def test_a_wrong_file_of_tools_is_refused(gpt_oss: Any, text: str, rule: str) -> None:
    (gpt_oss.folder / "tools.py").write_text(text)
    ended = gpt_oss(*ASKED, "--yes")
    assert ended.code == 2 and ended.err.startswith(rule)


def test_a_format_and_a_style(gpt_oss: Any) -> None:
    script(gpt_oss, [FINAL.format('{"n": 3}')])
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    (gpt_oss.folder / "n.json").write_text(json.dumps(schema))
    ended = gpt_oss("run", "A number?", "--format", "n.json", "--verbose")
    assert ended.out == '{"n": 3}\n'
    assert "\nformat  vocabulary read in " in ended.err
    (gpt_oss.folder / "n.json").write_text('{"not": {}}')
    refused = gpt_oss("run", "A number?", "--format", "n.json")
    assert refused.code == 2 and "[format] a schema must be enforceable" in refused.err
    answer = "## Q\nWhat?\n\n## A\n1. This.\n\n## C\nSo."
    script(gpt_oss, [FINAL.format(answer)])
    assert gpt_oss("run", "What?", "--style", "structured").out == answer + "\n"


def test_a_capture_is_replayed_and_a_difference_told(gpt_oss: Any) -> None:
    ended = gpt_oss(*ASKED, "--yes", "--capture", "bug.json")
    assert "captured in bug.json" in ended.err
    path = gpt_oss.folder / "bug.json"
    told = json.loads(path.read_text())
    assert told["format"] == "ingle capture 1" and len(told["replies"]) == 4
    assert all(type(one["sampling"]["seed"]) is int for one in told["replies"])
    again = gpt_oss("run", "--replay", "bug.json")
    count = sum(len(one["ids"]) for one in told["replies"])
    assert (again.code, again.out) == (0, f"replayed 4 replies, {count} tokens: the same ids\n")
    told["replies"][1]["ids"][3] += 1
    path.write_text(json.dumps(told))
    again = gpt_oss("run", "--replay", "bug.json")
    assert (again.code, again.out) == (1, "reply 2 of 4 differs from token 4 on\n")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "[--replay] the file must hold JSON"),
        ("[]", "[--replay] the file must be a capture"),
        ('{"format": "ingle capture 1"}', "[--replay] a capture must have settings, but got None"),
        ('{"format": "ingle capture 1", "settings": {"backend": "cpu"}, "model": {}, "replies": '
         '[{"sampling": {}}]}', "[capture] a reply must have its fields"),
    ],
)  # fmt: skip
def test_what_is_no_capture_is_refused(gpt_oss: Any, text: str, rule: str) -> None:
    (gpt_oss.folder / "bug.json").write_text(text)
    ended = gpt_oss("run", "--replay", "bug.json")
    assert ended.code == 2 and rule in ended.err
