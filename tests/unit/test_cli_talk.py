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
            ("/help", "forget what was said"),
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


def hold(ingle: Any, *exchanges: tuple[str, str], args: tuple[str, ...] = ()) -> None:
    """A chat in which each typed line is followed by what shall be shown, and a prompt."""
    with terminal(ingle, *args) as person:
        for typed, shown in exchanges:
            person.type(typed + "\n")
            person.wait_for(shown)
            person.wait_for(">>> ")
        person.type("/bye\n")
        assert person.child.wait(30) == 0


def test_settings_change_between_two_messages(ingle: Any) -> None:
    hold(
        ingle,
        ("/set system Be terse.", ""),
        ("/set parameter num_predict 12", "max_tokens is 12"),
        ("/set top_p 0.5", "top_p is 0.5"),
        ("/set think high", ""),
        ("/set verbose", ""),
        ("First", "ended by stop"),
        ("/set quiet", ""),
        ("/set system", ""),
        ("/set nothink", ""),
        ("Second", "You said: Second"),
        args=("--seed", "3"),
    )
    first, second = [call for call in ingle.calls() if "chat" in call]
    assert first["chat"][0] == {"role": "system", "content": "Be terse."}
    told = {key: first[key] for key in ("max_tokens", "top_p", "reasoning", "seed")}
    assert told == {"max_tokens": 12, "top_p": 0.5, "reasoning": "high", "seed": 3}
    assert second["chat"][0]["role"] == "user"
    assert second["reasoning"] == "off"


def test_what_was_set_goes_on_with_the_conversation(ingle: Any) -> None:
    hold(
        ingle,
        ("/set temperature 0.25", "temperature is 0.25"),
        ("/set top_k 7", "top_k is 7"),
        ("First", "You said"),
        ("/set think low", ""),
        ("/set top_k", "top_k is the model's own"),
        args=("--seed", "3"),
    )
    assert ingle("run", "-c", "Second").code == 0
    assert ingle("run", "-c", "--temperature", "0.75", "--think", "high", "Third").code == 0
    assert ingle("run", "New").code == 0
    told = [
        [call[name] for name in ("temperature", "top_k", "reasoning", "seed")]
        for call in ingle.calls()
        if "chat" in call
    ]
    assert told[1] == [0.25, None, "low", None]
    assert told[2] == [0.75, None, "high", None]
    assert told[3] == [None, None, None, None]


def test_a_chat_that_goes_on_says_what_was_set(ingle: Any) -> None:
    hold(ingle, ("/set temperature 0", "temperature is 0.0"), ("First", "You said"))
    with terminal(ingle, "-c") as person:
        person.type("/show parameters\n")
        person.wait_for("temperature 0.0")


def test_an_answer_that_was_stopped_is_marked(ingle: Any) -> None:
    with terminal(ingle) as person:
        person.type("script: long, slow\n")
        person.wait_for("You said")
        person.interrupt()
        person.wait_for("(stopped)")
        person.wait_for(">>> ")
        person.type("/bye\n")
        assert person.child.wait(30) == 0
    hold(ingle, ("/show messages", "(stopped)"), args=("-c",))


def test_why_an_answer_was_cut_is_told(ingle: Any) -> None:
    hold(
        ingle,
        ("script: cut", "(cut: the context is full at 8 tokens; /clear empties it)"),
        ("script: max", "(cut: max tokens, 3, is reached)"),
        ("/show messages", "(context full)"),
        ("/show messages", "(max tokens)"),
        ("Next", "You said: Next"),
    )
    assert all(one.keys() == {"role", "content"} for one in chats(ingle)[-1])


def test_mistakes_in_settings_are_told_and_change_nothing(ingle: Any) -> None:
    hold(
        ingle,
        ("/set", "[/set] a name must follow"),
        ("/set wings 2", "[/set] a parameter must be one of temperature"),
        ("/set num_ctx 9", "hint: --context is said when ingle starts"),
        ("/set seed x", "[/set seed] the value must be a whole number, but got 'x'"),
        ("/set seed x", "hint: for example: /set seed 40"),
        ("/set temperature -1", "hint: /set temperature alone takes it back"),
        ("/set temperature -1", "[/set temperature] the temperature must be"),
        ("/set preset wild", "[/set preset] the preset must be one of"),
        ("/set think much", "[/set think] the level must be one of"),
        ("/set reasoning maybe", "[/set reasoning] it must be one of show, hide"),
        ("/set format json", "answers are held to json"),
        ("/set format yaml", "[/set format] the format must be known, but got 'yaml'"),
        ("/set format", "answers are in any format"),
        ("/show wings", "[/show] it must be one of info, system"),
        ("/save", "[/save] something must have been said"),
        ("/show parameters", "(the model's own)"),
    )


def test_show_tells_what_is_in_force(ingle: Any) -> None:
    hold(
        ingle,
        ("/show", "smollm2:135m, scripted kernels"),
        ("/show template", "scripted template"),
        ("/show messages", "(nothing said yet)"),
        ("First", "You said: First"),
        ("/show messages", "assistant: You said: First"),
        ("/show system", "Be terse."),
        ("/show parameters", "seed 3"),
        args=("--system", "Be terse.", "--seed", "3"),
    )


def test_a_message_of_several_lines_stands_between_quotes(ingle: Any) -> None:
    with terminal(ingle) as person:
        person.type('"""first line\n')
        person.wait_for("... ")
        person.type("第二行\n")
        person.wait_for("... ")
        person.type('third"""\n')
        person.wait_for("You said: first line")
        person.wait_for(">>> ")
    assert chats(ingle)[0][-1]["content"] == "first line\n第二行\nthird"


def test_conversations_are_saved_loaded_and_continued(ingle: Any) -> None:
    hold(ingle, ("First", "You said"), ("/save one", "saved as one"), ("/clear", "forgotten"))
    hold(ingle, ("Other", "You said"))
    hold(ingle, ("More", "You said"), args=("-c",))
    hold(
        ingle,
        ("/load", "saved: one"),
        ("/load two", "hint: saved names: one"),
        ("/load one", "one: 2 messages"),
        ("Next", "You said"),
    )
    prompts = [[m["content"] for m in chat if m["role"] == "user"] for chat in chats(ingle)]
    assert prompts == [["First"], ["Other"], ["Other", "More"], ["First", "Next"]]


def test_a_chat_without_a_record_leaves_none(ingle: Any) -> None:
    hold(ingle, ("First", "You said"), args=("--no-save",))
    assert not (ingle.folder / "home" / "conversations.db").exists()


def test_reasoning_is_shown_dimmed_or_hidden_and_not_remembered(ingle: Any) -> None:
    hold(
        ingle,
        ("script: think", "\x1b[2mHm,"),
        ("/set reasoning hide", ""),
        ("script: think", "It is two."),
    )
    assert chats(ingle)[1][1] == {"role": "assistant", "content": "It is two."}


def test_a_terminal_with_a_cursor_edits_lines_and_keeps_them(ingle: Any) -> None:
    ingle.env["TERM"] = "xterm"
    with terminal(ingle) as person:
        person.type("Furst\x1b[D\x1b[D\x1b[D\x7fi\r")  # three to the left, backspace, i
        person.wait_for("You said: First")
        person.wait_for(">>> ")
        person.type("你好🎉\x1b\rzwei\r")  # Alt-Enter breaks the line
        person.wait_for("You said: 你好🎉")
        person.wait_for(">>> ")
        person.type("/bye\r")
        assert person.child.wait(30) == 0
    with terminal(ingle) as person:
        person.type("\x1b[A" * 4 + "\r")  # up: /bye, the two lines of the second, the first
        person.wait_for("You said: First")
        person.wait_for(">>> ")
        person.type("\x04")
        assert person.child.wait(30) == 0
    prompts = [chat[-1]["content"] for chat in chats(ingle)]
    assert prompts == ["First", "你好🎉\nzwei", "First"]


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_ctrl_c_leaves_the_program_running(ingle: Any, term: str) -> None:
    ingle.env["TERM"] = term
    with terminal(ingle) as person:
        person.type("script: long, slow" + ("\r" if term == "xterm" else "\n"))
        person.wait_for("You said")
        person.interrupt()
        person.wait_for(">>> ")
        person.type("\x04")
        assert person.child.wait(30) == 0
    assert {"cancelled": True} in ingle.calls()


@pytest.mark.parametrize("option", ["--json", "--raw"])
def test_json_and_raw_do_not_chat(ingle: Any, option: str) -> None:
    opened = Terminal(ingle, option)
    try:
        opened.wait_for(f"[{option}] the option needs a prompt")
        assert opened.child.wait(30) == 2
    finally:
        opened.close()
