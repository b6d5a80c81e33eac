"""Owns notes to a person in a chat: on stderr, broken between words where that is a terminal.

It does not know what is noted.
"""

from __future__ import annotations

import shutil
import sys
import textwrap

from ingle.cli.answer import harmless

_HANGING = "  "


def note(text: object = "") -> None:
    """Print `text`, each of its lines for itself; to a terminal, without what could steer it."""
    width = width_of_stderr()
    if width is None:
        print(text, file=sys.stderr)
        return
    lines = harmless(str(text)).split("\n")
    print("\n".join(wrapped(line, width) for line in lines), file=sys.stderr)


def width_of_stderr() -> int | None:
    """Characters that a line of stderr has room for; None where it is no terminal."""
    if not sys.stderr.isatty():
        return None
    return max(shutil.get_terminal_size().columns - 1, 2 * len(_HANGING))


def wrapped(line: str, width: int) -> str:
    """A line as lines of at most `width` characters, where words allow that.

    >>> wrapped("/clear   forget what was said", 20)
    '/clear   forget what\\n  was said'
    """
    return textwrap.fill(
        line,
        width,
        subsequent_indent=_HANGING,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
