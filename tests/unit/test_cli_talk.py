"""The chat at a terminal, on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")


@pytest.fixture
def ingle(ingle: Any) -> Any:
    """As everywhere, with a home of its own and a terminal that knows nothing."""
    ingle.env |= {"INGLE_HOME": str(ingle.folder / "home"), "TERM": "dumb"}
    return ingle


class Terminal:
    """A person's terminal with `ingle run` in it."""

    def __init__(self, ingle: Any, *args: str) -> None:
        self._master, slave = pty.openpty()
        self._seen = b""
        self.child = subprocess.Popen(
            [*ingle.command, "run", *args],
            env={**ingle.env, "PROMPT_TOOLKIT_NO_CPR": "1"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """What Ctrl-C does in a terminal of one's own."""
        self.child.send_signal(signal.SIGINT)

    def wait_for(self, text: str) -> str:
        """What was shown up to and including `text`."""
        deadline = time.monotonic() + 30
        while (end := self._seen.find(text.encode())) < 0:
            assert time.monotonic() < deadline, f"{text!r} never came after {self._seen!r}"
            if select.select([self._master], [], [], 1)[0]:
                self._seen += os.read(self._master, 4096)
        end += len(text.encode())
        shown, self._seen = self._seen[:end], self._seen[end:]
        return shown.decode()

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        os.close(self._master)


@contextlib.contextmanager
def terminal(ingle: Any, *args: str) -> Iterator[Terminal]:
    opened = Terminal(ingle, *args)
    try:
        opened.wait_for(">>> ")
        yield opened
    finally:
        opened.close()


def chats(ingle: Any) -> list[Any]:
    return [call["chat"] for call in ingle.calls() if "chat" in call]


def test_a_chat_remembers_what_was_said(ingle: Any) -> None:
    with terminal(ingle) as person:
        person.type("First\n")
        person.wait_for("You said: First")
        person.wait_for(">>> ")
        person.type("Second\n")
        person.wait_for("You said: Second")
        person.wait_for(">>> ")
        person.type("/bye\n")
        assert person.child.wait(30) == 0
    assert chats(ingle)[1] == [
        {"role": "user", "content": "First"},
        {"role": "assistant", "content": "You said: First"},
        {"role": "user", "content": "Second"},
    ]


def test_clear_forgets_and_help_helps(ingle: Any) -> None:
    with terminal(ingle, "smollm2:135m", "--verbose") as person:
        for typed, shown in (
            ("First", "ended by stop"),
            ("/help", "/clear   forget what was said"),
            ("/dance", "[/dance] it is no command"),
            ("/clear", "forgotten"),
            ("Second", "ended by stop"),
        ):
            person.type(typed + "\n")
            person.wait_for(shown)
            person.wait_for(">>> ")
        person.type("\x04")  # Ctrl-D
        assert person.child.wait(30) == 0
    assert [len(messages) for messages in chats(ingle)] == [1, 1]


def test_ctrl_c_stops_the_answer_and_keeps_its_beginning(ingle: Any) -> None:
    with terminal(ingle) as person:
        person.type("script: long, slow\n")
        person.wait_for("You said: script")
        person.interrupt()
        person.wait_for(">>> ")
        person.type("Next\n")
        person.wait_for("You said: Next")
        person.wait_for(">>> ")
        time.sleep(
            0.3
        )  # a signal between showing the prompt and reading is taken with the next key
        person.interrupt()
        person.wait_for("/bye or Ctrl-D leaves")
        person.wait_for(">>> ")
        person.type("/bye\n")
        assert person.child.wait(30) == 0
    _, second = chats(ingle)
    assert [message["role"] for message in second] == ["user", "assistant", "user"]
    assert second[1]["content"].startswith("You said: script")
    assert {"cancelled": True} in ingle.calls()


def test_a_mistake_leaves_the_conversation_as_it_was(ingle: Any) -> None:
    with terminal(ingle) as person:
        person.type("script: mistake\n")
        person.wait_for("hint: ask for less")
        person.wait_for(">>> ")
        person.type("Next\n")
        person.wait_for("You said: Next")
        person.wait_for(">>> ")
        person.type("/bye\n")
        assert person.child.wait(30) == 0
    assert chats(ingle)[1] == [{"role": "user", "content": "Next"}]


@pytest.mark.parametrize("option", ["--json", "--raw"])
def test_json_and_raw_do_not_chat(ingle: Any, option: str) -> None:
    opened = Terminal(ingle, option)
    try:
        opened.wait_for(f"[{option}] the option needs a prompt")
        assert opened.child.wait(30) == 2
    finally:
        opened.close()
