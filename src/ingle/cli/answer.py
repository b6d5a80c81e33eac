"""Owns a running answer on its way to a person: plain text, reasoning aside, Ctrl-C.

The answer goes to stdout. Reasoning goes to stderr, dimmed where that is a terminal. It does not
know Markdown, nor what is asked.
"""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from ingle.cli.waiting import told
from ingle.llm.reasoning import Part

if TYPE_CHECKING:
    from ingle.llm import Stream
    from ingle.llm.tool_loop import ToolLoop

# What moves a terminal's cursor or speaks to it, but for newline and tab.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


class Display(Protocol):
    """A place where the text of one answer appears as it comes."""

    def write(self, text: str) -> None:
        """Show more of the answer."""

    def end(self) -> None:
        """The answer is complete, or was stopped."""


class PlainDisplay:
    """Text as it is on stdout; to a terminal, without what could steer it."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        shown = harmless(text) if sys.stdout.isatty() else text
        sys.stdout.write(shown)
        sys.stdout.flush()
        self._last = text or self._last

    def end(self) -> None:
        if not self._last.endswith("\n"):
            print(flush=True)


class ReasoningDisplay:
    """Reasoning on stderr; a blank line divides it from the answer."""

    def __init__(self, hidden: bool) -> None:
        self._hidden, self._begun = hidden, False

    def write(self, text: str) -> None:
        if self._hidden:
            return
        self._begun = True
        shown = f"{_DIM}{harmless(text)}{_PLAIN}" if sys.stderr.isatty() else text
        print(shown, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._begun:
            print("\n", file=sys.stderr, flush=True)
        self._begun = False


def harmless(text: str) -> str:
    """`text` without control characters, which a model may say but must not do."""
    return _CONTROLS.sub("\ufffd", text)


def show(
    stream: Stream | ToolLoop,
    display: Display,
    hide_reasoning: bool,
    at_once: bool = False,
    stoppable: bool = False,
) -> str:
    """Show a running answer to its end and return its text, without the reasoning.

    at_once: not before it is complete. stoppable: once the first piece is there, Ctrl-C ends the
    answer between two pieces and what was said stands; else, and before, it breaks in as ever.
    Whatever breaks in cancels the stream.
    """
    reasoning = ReasoningDisplay(hide_reasoning)
    said: list[str] = []

    def take(part: Part) -> None:
        if part.is_reasoning:
            reasoning.write(part.text)
            return
        reasoning.end()
        said.append(part.text)
        display.write(part.text)

    try:
        parts = iter(list(stream.parts())) if at_once else stream.parts()
        with told(getattr(stream, "progress", None)):
            first = next(parts, Part("", False))
        take(first)
        with noted_interrupt() if stoppable else contextlib.nullcontext() as interrupt:
            while interrupt is None or not interrupt.is_set():
                part = next(parts, None)
                if part is None:
                    break
                take(part)
            else:
                stream.cancel()
    except BaseException:
        stream.cancel()
        raise
    finally:
        reasoning.end()
        display.end()
    return "".join(said)


def show_raw(stream: Stream, display: Display) -> None:
    """Show text as it continues, to its end. Whatever breaks in cancels the stream."""
    try:
        pieces = iter(stream)
        with told(getattr(stream, "progress", None)):
            first = next(pieces, "")
        display.write(first)
        for piece in pieces:
            display.write(piece)
    except BaseException:
        stream.cancel()
        raise
    finally:
        display.end()


@contextlib.contextmanager
def noted_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; a second one breaks in as ever."""
    interrupt, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        interrupt.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
