"""Owns how a command's help is laid out, at any width of a terminal. It does not know commands.

typer's own layout needs 50 columns and cuts what commands do; this one does neither.
"""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingle.cli.layout import broken, pairs

_WIDEST = 90
_HELP = ("-h, --help", "Show this and leave.")


def lay_out(command: Any) -> None:
    """Let `command`, a group of typer's or one of its commands, print help as this file does."""
    command.get_help = lambda context: help_text(command, context.command_path, _width())
    for one in getattr(command, "commands", {}).values():
        lay_out(one)


def help_text(command: Any, path: str, width: int) -> str:
    """The help of a command that is called by `path`, in lines of at most `width` characters."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    commands = {k: v for k, v in getattr(command, "commands", {}).items() if not v.hidden}
    places = ["COMMAND [ARGS]..."] if commands else [_place(p) for p in arguments]
    usage = broken(" ".join(["Usage:", path, "[OPTIONS]", *places]), width)
    lines = [usage[0], *("  " + line for line in usage[1:]), ""]
    for paragraph in inspect.cleandoc(command.help or "").replace("\b\n", "").split("\n\n"):
        lines += ["  " + line for line in broken(" ".join(paragraph.split()), width - 2)] + [""]
    lines += _section("Arguments", [(_argument(p), p.help or "") for p in arguments], width)
    told = [(_option(p), _told(p)) for p in options if p.name != "help"]
    lines += _section("Options", [*told, _HELP], width)
    lines += _section("Commands", [(k, _summary(v)) for k, v in commands.items()], width)
    return "\n".join(lines).rstrip()


def _width() -> int:
    tty = sys.stdout.isatty()
    return min(shutil.get_terminal_size().columns - 1, _WIDEST) if tty else _WIDEST


def _section(title: str, rows: list[tuple[str, str]], width: int) -> Iterator[str]:
    if rows:
        shown = [("  " + label, text) for label, text in rows]
        yield from (f"{title}:", *pairs(shown, width, lead=2), "")


def _place(parameter: Any) -> str:
    name = _argument(parameter)
    name = name if parameter.required else f"[{name}]"
    return name + "..." if parameter.nargs == -1 else name


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name).upper().strip("[].")


def _option(parameter: Any) -> str:
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return (
        names if getattr(parameter, "is_flag", False) else f"{names} {parameter.metavar or 'VALUE'}"
    )


def _told(parameter: Any) -> str:
    """What an option does, and what holds without it."""
    text, default = str(parameter.help or ""), parameter.default
    said = isinstance(default, str | int | float | Path) and not isinstance(default, bool)
    return f"{text} Without it {default}." if said and default != "" else text


def _summary(command: Any) -> str:
    return " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())
