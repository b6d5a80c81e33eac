"""Owns calibration text: files become windows of ids, each run from an empty context.

A text file is cut into windows of equal length, as llama.cpp cuts it. Of a transcript each
conversation begins a window. It does not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ingle.errors import IngleError
from ingle.evaluate.subject import Subject
from ingle.evaluate.transcript import conversations, is_transcript
from ingle.evaluate.window import cut, read_text

MIN_ROWS = 16  # a shorter end of a conversation is left out, as llama.cpp leaves out short batches


@dataclass(frozen=True)
class Calibration:
    """Windows of one or several files; digest tells other text from this."""

    names: tuple[str, ...]
    windows: tuple[tuple[int, ...], ...]

    @property
    def digest(self) -> str:
        """Of all ids."""
        summed = sha256()
        for window in self.windows:
            summed.update(repr(window).encode())
        return summed.hexdigest()


def calibration(
    subject: Subject, files: Sequence[str], context_tokens: int, limit: int | None
) -> Calibration:
    """At most `limit` windows over all files, taken from each in turn, so that each has its share.

    Raises IngleError for a file that cannot be read or holds less than a window.
    """
    if limit is not None and limit < 1:
        raise IngleError("chunks", f"the count must be 1 or more, but got {limit}")
    each = [_windows(subject, file, context_tokens) for file in files]
    if not each:
        raise IngleError("-f", "a text must be given, but got none", "say -f FILE")
    return Calibration(tuple(Path(file).name for file in files), tuple(_dealt(each, limit)))


def _dealt(
    each: Sequence[Sequence[tuple[int, ...]]], limit: int | None
) -> Iterator[tuple[int, ...]]:
    """Windows of the files in turn, until `limit`; then in the order of files."""
    total = sum(map(len, each))
    shares, left = [0] * len(each), total if limit is None else min(limit, total)
    while left:
        for index, windows in enumerate(each):
            if left and shares[index] < len(windows):
                shares[index] += 1
                left -= 1
    for windows, share in zip(each, shares, strict=True):
        yield from windows[:share]


def _windows(subject: Subject, file: str, context_tokens: int) -> tuple[tuple[int, ...], ...]:
    if is_transcript(file):
        return tuple(_cut_conversations(subject, file, context_tokens))
    ids = subject.ids(read_text(file))
    return cut(ids, context_tokens, None, subject.beginning).ids


def _cut_conversations(
    subject: Subject, file: str, context_tokens: int
) -> Iterator[tuple[int, ...]]:
    for ids in conversations(subject, file):
        for start in range(0, len(ids), context_tokens):
            window = ids[start : start + context_tokens]
            if len(window) >= MIN_ROWS:
                yield window
