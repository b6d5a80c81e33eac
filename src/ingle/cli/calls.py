"""Owns calls of tools at the command line: the file that holds them, asking before each, telling.

It does not know models.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

from ingle.cli.note import note
from ingle.errors import IngleError

if TYPE_CHECKING:
    from ingle.chat.message import ToolCall
    from ingle.chat.tools import ToolResult

_SHOWN_CHARS = 400
_LIST = "TOOLS"


def read_tools(name: str, where: str = "--tools") -> list[Callable[..., Any]]:
    """The tools in a Python file: those in its list TOOLS, else its public functions, in order.

    The file is run, as any Python program is. Raises IngleError.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        rule = f"it must be a Python file, but got {name!r:.80}"
        raise IngleError(where, rule, "each function in it, with type hints, is a tool")
    module = _run(path, where)
    listed = getattr(module, _LIST, None)
    if listed is not None:
        return list(listed)
    found: list[Callable[..., Any]] = [
        value
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and key[0] != "_"
    ]
    if not found:
        rule = f"the file must hold functions, but got none in {name!r:.80}"
        raise IngleError(
            where, rule, f"names that begin with _ are left out, or list them in {_LIST}"
        )
    return found


def _run(path: Path, where: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ingle_tools_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise IngleError(where, f"it must end in .py, but got {path.name!r:.80}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # anybody's code
        rule = f"the file must run, but got {type(error).__name__}: {error!s:.200}"
        raise IngleError(where, rule) from None
    return module


class CallDesk:
    """Shows every call, asks whether it may be made, and tells its result; all on stderr.

    assent: all calls are made without asking. Raises IngleError where nobody can be asked.
    """

    def __init__(self, assent: bool) -> None:
        self._assent = assent
        self._always: set[str] = set()
        self._shown: ToolCall | None = None
        if not assent and not _can_ask():
            rule = "calls must be approved at a terminal, but got none"
            raise IngleError("--tools", rule, "--yes approves all of them")

    def approve(self, call: ToolCall) -> bool:
        """Whether a call may be made: y, n (and anything else), or a for this tool always."""
        self._show(call)
        if self._assent or call.name in self._always:
            return True
        answer = _ask("make this call? [y/N/always] ").strip().lower()
        if answer in ("a", "always"):
            self._always.add(call.name)
        return answer in ("y", "yes", "a", "always")

    def tell(self, result: ToolResult) -> None:
        """What a tool said, as far as a few lines hold it."""
        if result.call is not self._shown:  # it was not asked about, for it cannot be made
            self._show(result.call)
        text = " ".join(result.content.split())
        shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]} ..."
        note(f"  -> {shown}")

    def _show(self, call: ToolCall) -> None:
        self._shown = call
        note(f"\ncall {call.name} {call.arguments}")


def _can_ask() -> bool:
    if sys.stdin is not None and sys.stdin.isatty():
        return True
    terminal = _terminal()
    if terminal is None:
        return False
    terminal.close()
    return True


def _terminal() -> IO[str] | None:
    """The terminal itself, where stdin is the prompt's text; None where there is none."""
    try:
        return open("/dev/tty")  # noqa: PTH123  (no file; closed by whoever asks)
    except OSError:
        return None


def _ask(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    try:
        if sys.stdin is not None and sys.stdin.isatty():
            return sys.stdin.readline()
        terminal = _terminal()
        if terminal is None:
            return ""
        with terminal:
            return terminal.readline()
    except KeyboardInterrupt:
        note()
        return ""
