"""Owns how rows of text fit the width of a terminal. In a pipe or a file nothing is broken.

It does not know what the rows say.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

_GAP = "  "
_LONGEST_LABEL = 30  # characters; what is longer stands on a line of its own
_NARROWEST = 24  # characters of a column whose text is broken into lines


def width_of_stdout() -> int | None:
    """Characters that a line of stdout has room for; None where it is no terminal."""
    if not sys.stdout.isatty():
        return None
    return max(shutil.get_terminal_size().columns - 1, 2 * len(_GAP) + 1)


def table(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    r"""Rows under a heading (the first) as columns; the last column is broken where it must.

    Where even that leaves it too little room, the heading goes, and each row becomes its first
    cell with the others below it.

    >>> print(*table([("NAME", "WHAT"), ("a", "one"), ("b", "two")], 20), sep="\n")
    NAME  WHAT
    a     one
    b     two
    >>> print(*table([("NAME", "SIZE", "WHAT"), ("abcdef", "1 GB", "one and two")], 20), sep="\n")
    abcdef
      1 GB  one and two
    """
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    taken = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    if width is None or taken + widths[-1] <= width:
        return [_row(row, widths) for row in rows]
    if width - taken >= _NARROWEST:
        lines = []
        for row in rows:
            first, *rest = broken(row[-1], width - taken) or [""]
            lines.append(_row([*row[:-1], first], widths))
            lines += [" " * taken + line for line in rest]
        return lines
    return [line for row in rows[1:] for line in (row[0], *_below(row[1:], width))]


def pairs(rows: Iterable[tuple[str, str]], width: int | None, lead: int = 0) -> list[str]:
    r"""Labels and what they stand for, in two columns; narrow ones one below the other.

    lead: characters at the beginning of a label that are no part of it, such as a mark.

    >>> print(*pairs([("model", "a"), ("file", "a long name of a file")], 30), sep="\n")
    model  a
    file   a long name of a file
    >>> print(*pairs([("model", "a"), ("file", "a long name of a file")], 20), sep="\n")
    model  a
    file
      a long name of a
      file
    """
    rows = list(rows)
    usual = (cells(label) for label, _ in rows if width is None or cells(label) <= _LONGEST_LABEL)
    taken = max(usual, default=0) + len(_GAP)
    lines = []
    for label, text in rows:
        padded = label + " " * (taken - cells(label))
        if len(padded) == len(label) and width is not None and width - taken >= _NARROWEST:
            lines += [label, *(" " * taken + line for line in broken(text, width - taken))]
        elif width is None or cells(padded) + cells(text) <= width:
            lines.append((padded + text).rstrip())
        elif width - taken >= _NARROWEST:
            first, *rest = broken(text, width - taken)
            lines += [padded + first, *(" " * taken + line for line in rest)]
        else:
            lines += [*_label(label, width, lead), *_below([text], width, lead)]
    return lines


def broken(text: str, width: int) -> list[str]:
    """Text as lines of at most `width` characters; a longer word is cut."""
    wide = cells(text) - len(text)
    room = max(width // 2 if wide else width, 1)
    return textwrap.wrap(text, room, break_on_hyphens=False)


def cells(text: str) -> int:
    """Places that a line takes up on a terminal, where a Chinese character takes two.

    >>> cells("a中")
    3
    """
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # here, for most names are ASCII and all wait for start-up

    return cell_len(text)


def _label(label: str, width: int, lead: int) -> list[str]:
    """A label without text beside it, broken only if it is wider than all there is."""
    if cells(label) <= width:
        return [label.rstrip()]
    return [label[:lead] + line for line in broken(label[lead:], width - lead)]


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True))
    return _GAP.join(padded).rstrip()


def _below(texts: Sequence[str], width: int, lead: int = 0) -> list[str]:
    """The texts beside each other, indented, in as many lines as they need; a "-" says nothing."""
    indent = " " * (lead + len(_GAP))
    room = width - len(indent)
    lines: list[str] = []
    for text in texts:
        if text in ("", "-"):
            continue
        if lines and cells(lines[-1]) + len(_GAP) + cells(text) <= room:
            lines[-1] += _GAP + text
        else:
            lines += broken(text, room)
    return [indent + line for line in lines]
