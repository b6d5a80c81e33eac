"""Owns how a mistake in the command line's grammar is told: in ingle's words, not in typer's.

It does not know what the commands do.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, cast

import typer

from ingle.errors import IngleError

UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What typer raises for words that do not fit the grammar, wherever its release keeps it."""

_KINDS = {"integer": "a whole number", "number": "a number", "float": "a number"}


def help_asked(error: Any) -> str | None:
    """The help that `ingle` alone stands for, which typer raises as a mistake too; else None."""
    asked = type(error).__name__ == "NoArgsIsHelpError"
    return str(error.ctx.get_help()) if asked else None


def mistake(error: Any, words: Sequence[str]) -> IngleError:
    """A `UsageError` as what must hold and what to do. words: the command line behind `ingle`.

    Nothing of typer's wording is passed on: it differs between releases.
    """
    told = {
        "NoSuchOption": _no_such_option,
        "MissingParameter": _missing,
        "BadParameter": _bad_value,
        "BadOptionUsage": _bad_option,
    }
    tell = told.get(type(error).__name__, _bad_words)
    return tell(error, words, _command(error, words))


def _command(error: Any, words: Sequence[str]) -> str:
    """``ingle run``: the command that was being read."""
    if error.ctx is not None:
        return str(error.ctx.command_path)
    return "ingle " + words[0] if words and not words[0].startswith("-") else "ingle"


def _no_such_option(error: Any, words: Sequence[str], command: str) -> IngleError:
    close = list(getattr(error, "possibilities", None) or ())
    rule = f"an option must be one that `{command}` has, but got {error.option_name[:60]}"
    hint = f"did you mean {close[0]}?" if close else f"`{command} -h` lists them"
    return IngleError(str(error.option_name)[:60], rule, hint)


def _missing(error: Any, words: Sequence[str], command: str) -> IngleError:
    name = _name(error.param)
    rule = f"`{command}` needs it, but got none"
    return IngleError(name, rule, f"`{command} -h` shows how it is written")


def _bad_value(error: Any, words: Sequence[str], command: str) -> IngleError:
    name = _name(error.param)
    said = str(error.message)  # the one thing that every release of typer says of the kind
    kind = next((kind for word, kind in _KINDS.items() if word in said), "of the option's kind")
    value = _value(getattr(error.param, "opts", ()), words)
    got = f"{value!r:.60}" if value is not None else "something else"
    return IngleError(name, f"the value must be {kind}, but got {got}", f"see `{command} -h`")


def _bad_option(error: Any, words: Sequence[str], command: str) -> IngleError:
    name = str(error.option_name)
    written = any(word.startswith(f"{name}=") for word in words)
    rule = (
        "the option stands alone, but got a value"
        if written
        else ("the option needs a value after it, but got none")
    )
    return IngleError(name, rule, f"`{command} -h` shows how it is written")


def _bad_words(error: Any, words: Sequence[str], command: str) -> IngleError:
    """Unknown commands, and words too many."""
    commands = getattr(getattr(error.ctx, "command", None), "commands", None)
    if commands is not None:
        named = next((word for word in words if not word.startswith("-")), "")
        shown = [name for name, one in commands.items() if not one.hidden]
        close = difflib.get_close_matches(named, shown, 1)
        hint = f"did you mean `ingle {close[0]}`?" if close else "`ingle -h` lists them"
        return IngleError("ingle", f"a command must be a known one, but got {named!r:.60}", hint)
    extra = words[-1] if words else ""
    rule = f"the command takes fewer words, but got {extra!r:.60} too"
    return IngleError(command, rule, f"`{command} -h` shows what it takes")


def _name(parameter: Any) -> str:
    """An option as it is typed; an argument as the help calls it."""
    if getattr(parameter, "param_type_name", "") == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name).upper().strip("[].")


def _value(names: Sequence[str], words: Sequence[str]) -> str | None:
    """What was typed behind an option."""
    for word, after in zip(words, [*words[1:], None], strict=True):
        if word in names:
            return after
        name, equals, value = word.partition("=")
        if equals and name in names:
            return value
    return None
