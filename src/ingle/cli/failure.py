"""Owns how a command ends: exit codes, and what stderr says. It does not know any command.

0    done
1    a bug in ingle: one line, and the traceback if INGLE_TRACEBACK is set
2    a mistake in what was asked: the two lines of an IngleError
130  Ctrl-C          141  the reader of a pipe went away          both without a word
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec

import typer

from ingle import env
from ingle.errors import IngleError

BUG, MISTAKE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141

P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """`command`, with whatever it raises turned into an exit code and lines on stderr."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()  # a broken pipe shall show here, not at the interpreter's end
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(exit_code(error)) from error

    return run


def exit_code(error: BaseException) -> int:
    """Tell stderr what there is to tell of `error` and return the code to exit with."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _drop_stdout()
        return BROKEN_PIPE
    if isinstance(error, IngleError):
        print(error, file=sys.stderr)
        return MISTAKE
    if isinstance(error, MemoryError):
        rule = "the model must fit, but got no more of it"
        hint = "close other programs, lower --context, or choose a smaller model or quantization"
        print(IngleError("memory", rule, hint), file=sys.stderr)
        return MISTAKE
    if isinstance(error, OSError) and not env.wants_traceback():
        _drop_stdout()  # it may be what failed, and the last flush would fail again
        where = str(error.filename or "system")
        rule = f"the system must allow what was asked, but got {error.strerror or error}"
        hint = "check that it exists, that it may be used, and that the disk has room"
        print(IngleError(where, rule, hint), file=sys.stderr)
        return MISTAKE
    if env.wants_traceback():
        traceback.print_exception(error)
    words = " ".join(str(error).split())
    kind = type(error).__name__ + (f": {words}" if words else "")
    print(f"ingle met a bug of its own ({kind}); INGLE_TRACEBACK=1 shows where", file=sys.stderr)
    return BUG


def _drop_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush has nobody to miss."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is closed, or is no file
        return
