"""Owns how counts and foreign text read on one line. It does not know what they describe."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def printable(text: str, limit: int) -> str:
    """One line of at most `limit` characters that any terminal shows as characters."""
    encoding = sys.stdout.encoding or "ascii"
    clean = text[:limit].encode(encoding, "backslashreplace").decode(encoding)
    clean = clean if clean.isprintable() else ascii(clean)[1:-1]
    return clean if len(clean) <= limit and len(text) <= limit else clean[: limit - 3] + "..."


def count(number: int) -> str:
    """A count as people read it: ``20.91 B``."""
    for unit, scale in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= scale:
            return f"{number / scale:.4g} {unit}"
    return str(number)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines whose cells stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
