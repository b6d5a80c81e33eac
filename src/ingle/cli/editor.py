"""Owns reading what a person types in a chat: a line, or several between triple quotes.

On a real terminal lines are edited, with a history that outlives the program; on a dumb one they
are read as they come. It does not know what a line means.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PROMPT, MORE = ">>> ", "... "
QUOTES = '"""'
_PLACEHOLDER = "a message, or /help"

ReadMessage = Callable[[], str]
"""Gives the next message. Raises EOFError at the end of input, KeyboardInterrupt at Ctrl-C."""


def is_open(text: str) -> bool:
    """Whether `text` began with triple quotes that are not closed yet.

    >>> is_open('\"\"\"one'), is_open('\"\"\"one\"\"\"'), is_open('one'), is_open('\"\"\"')
    (True, False, False, True)
    """
    text = text.strip()
    return text.startswith(QUOTES) and not (len(text) >= 6 and text.endswith(QUOTES))


def unquoted(text: str) -> str:
    """A message without the triple quotes around it."""
    text = text.strip()
    if text.startswith(QUOTES):
        text = text.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
    return text


def editor(history: Path, commands: Sequence[str]) -> ReadMessage:
    """The best reader that this terminal allows. `history` is a file, made when needed."""
    from prompt_toolkit.utils import is_dumb_terminal

    if is_dumb_terminal():
        return _read_plain
    session = _session(history, commands)
    return lambda: unquoted(session.prompt())


@contextlib.contextmanager
def silent_keys() -> Iterator[None]:
    """Keys typed meanwhile do not appear on the screen; they wait for the next message."""
    try:
        import termios
    except ImportError:  # Windows
        yield
        return
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (OSError, ValueError, termios.error):  # no terminal
        yield
        return
    silent = [*before]
    silent[3] &= ~termios.ECHO  # the flags of line editing; Ctrl-C still interrupts
    try:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, silent)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _read_plain() -> str:
    """A message from a terminal without a cursor."""
    text = _read_line(PROMPT)
    while is_open(text):
        text += "\n" + _read_line(MORE)
    return unquoted(text)


def _read_line(prompt: str) -> str:
    """One line. The prompt goes to stderr when stdout is kept in a file."""
    if sys.stdout.isatty():
        return input(prompt)
    print(prompt, end="", file=sys.stderr, flush=True)
    return input()


def _session(history: Path, commands: Sequence[str]) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.formatted_text import FormattedText
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.output import create_output

    class History(FileHistory):
        """A history that is lost, and no more, where it cannot be kept."""

        def load_history_strings(self) -> list[str]:
            try:
                return list(super().load_history_strings())
            except OSError:
                return []

        def store_string(self, string: str) -> None:
            with contextlib.suppress(OSError, UnicodeEncodeError):
                history.parent.mkdir(parents=True, exist_ok=True)
                history.touch(0o600)
                super().store_string(string)

    session: PromptSession[str] = PromptSession(
        PROMPT,
        history=History(str(history)),
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
        multiline=Condition(lambda: is_open(session.default_buffer.text)),
        prompt_continuation=lambda width, line, wrapped: "" if wrapped else MORE,
        placeholder=FormattedText([("ansibrightblack", _PLACEHOLDER)]),
        key_bindings=_keys(),
        output=create_output(stdout=sys.stdout if sys.stdout.isatty() else sys.stderr),
    )
    return session


def _keys() -> KeyBindings:
    """Alt-Enter begins a new line; in an open quotation Enter does, and at its end sends."""
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
