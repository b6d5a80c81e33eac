"""Owns the chat at the terminal: lines in, answers out, what was said so far.

It does not know how a conversation becomes a prompt; `llm.chat` does.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from ingle.cli.report import tell
from ingle.cli.request import Options
from ingle.errors import IngleError

if TYPE_CHECKING:
    from ingle.llm import LLM, Stream

_PROMPT = ">>> "
_HELP = """\
/clear   forget what was said
/help    this list
/bye     leave, as Ctrl-D does
Ctrl-C   stop the answer"""


class Talk:
    """One conversation between a terminal and a model."""

    def __init__(self, llm: LLM, model: str, options: Options) -> None:
        self._llm, self._model, self._options = llm, model, options
        self._messages: list[dict[str, str]] = []

    def hold(self) -> None:
        """Read and answer lines until /bye or the end of input."""
        _edit_lines()
        print(f"{self._model}. /help shows the commands.", file=sys.stderr)
        while True:
            try:
                line = _read_line().strip()
            except EOFError:
                print(file=sys.stderr)
                return
            except KeyboardInterrupt:
                print("\n/bye or Ctrl-D leaves", file=sys.stderr)
                continue
            if line == "/bye":
                return
            if line:
                self._take(line)

    def _take(self, line: str) -> None:
        if line == "/clear":
            self._messages.clear()
        elif line == "/help":
            print(_HELP, file=sys.stderr)
        elif line.startswith("/") and line[1:].isalpha():
            print(f"no command {line}; /help shows them", file=sys.stderr)
        else:
            self._ask(line)

    def _ask(self, line: str) -> None:
        """Answer one message; what fails leaves the conversation as it was."""
        messages = [*self._messages, {"role": "user", "content": line}]
        try:
            line.encode()
            stream = self._llm.chat(messages, stream=True, **self._options.sampling)
            text = _show(stream)
        except KeyboardInterrupt:  # before the first token
            print(file=sys.stderr)
            return
        except UnicodeEncodeError:
            mistake = IngleError("PROMPT", "a prompt must be UTF-8, but got other bytes")
            print(mistake, file=sys.stderr)
            return
        except IngleError as error:
            print(error, file=sys.stderr)
            return
        self._messages = [*messages, {"role": "assistant", "content": text}]
        completion = stream.completion
        if completion.finish_reason == "length" and self._options.sampling["max_tokens"] is None:
            print("(cut: the context is full; /clear empties it)", file=sys.stderr)
        if self._options.verbose:
            tell(self._model, self._llm.kernels, completion)


def _show(stream: Stream) -> str:
    """Print the pieces as they come and return their text.

    Ctrl-C before the first piece breaks in as ever; after it, the answer ends between two pieces
    and what was said stands.
    """
    pieces: list[str] = []
    _say(next(stream, ""), pieces)
    with _noted_interrupt() as interrupt:
        while not interrupt.is_set():
            piece = next(stream, None)
            if piece is None:
                break
            _say(piece, pieces)
        else:
            stream.cancel()
    print("\n", flush=True)
    return "".join(pieces)


def _say(piece: str, pieces: list[str]) -> None:
    pieces.append(piece)
    sys.stdout.write(piece)
    sys.stdout.flush()


@contextlib.contextmanager
def _noted_interrupt() -> Iterator[threading.Event]:
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


def _read_line() -> str:
    """One line from the terminal. The prompt goes to stderr when stdout is kept in a file."""
    if sys.stdout.isatty():
        return input(_PROMPT)
    print(_PROMPT, end="", file=sys.stderr, flush=True)
    return input()


def _edit_lines() -> None:
    """Give `input` editing and a history where the system has readline."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
