"""Owns writing one big file so that a killed job resumes and a reader never sees half of it.

Data go to `.NAME.partial` beside the target, finished steps to `.NAME.journal`; at the end the
partial file is synced and renamed. It does not know what a step holds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from ingle.errors import IngleError

try:
    import fcntl
except ImportError:  # Windows: two writers of one target are not kept apart
    fcntl = None  # type: ignore[assignment]

Chunk = bytes | bytearray | memoryview

# Steps are recorded once this much data was synced, so that small tensors do not cost a sync each;
# or after this time, so that slow steps are not lost.
SYNC_BYTES = 64 << 20
SYNC_PAUSE_S = 10.0
# Written at once, from a multiple of it on: so large a piece of the file lies in one piece of the
# system's cache, where mapped weights are read faster than from strewn pages of 4 KiB.
PIECE_BYTES = 2 << 20


class JournaledFile:
    """The file being written to `target`, opened again where an earlier attempt stopped.

    plan: bytes that decide the whole content (header, source, options); when they differ from the
    earlier attempt's, writing starts over. total_bytes: final size, checked against the free disk
    space before the first byte. `steps_done` says how many steps need not be written again.

    Use as a context manager: leaving it by an exception keeps partial file and journal.
    Raises IngleError when the disk is too small or another process writes the same target.
    """

    def __init__(self, target: Path, plan: bytes, total_bytes: int) -> None:
        self.target = target
        self.total_bytes = total_bytes
        self._partial = target.with_name(f".{target.name}.partial")
        self._journal_path = target.with_name(f".{target.name}.journal")
        self._first_line = f"ingle-journal 1 {hashlib.sha256(plan).hexdigest()}"
        self.steps_done = 0
        self.position = 0
        self._synced_at = 0
        self._synced_time = time.monotonic()
        self._pending: list[int] = []

    def __enter__(self) -> Self:
        try:
            self._journal = _open_journal(self._journal_path)
        except OSError as error:
            raise IngleError(
                str(self.target), f"folder must be writable, but got {error.strerror}"
            ) from None
        try:
            ends = self._finished_steps()
            self._check_space(ends[-1] if ends else 0)
            self._data = self._partial.open("r+b" if ends else "w+b", PIECE_BYTES + 1)
            self.steps_done = len(ends)
            self.position = self._synced_at = ends[-1] if ends else 0
            self._data.truncate(self.position)
            self._data.seek(self.position)
            self._restart_journal(ends)
        except BaseException:
            self._journal.close()
            raise
        return self

    def write_step(self, chunks: Iterable[Chunk], nbytes: int) -> None:
        """Append one step of exactly `nbytes`; it counts as done once it has reached the disk."""
        written = 0
        for chunk in chunks:
            view = memoryview(chunk)
            written += view.nbytes
            if written > nbytes:
                break
            if view.nbytes:
                self._write_pieces(view.cast("B"), self.position + written - view.nbytes)
        if written != nbytes:
            raise IngleError(
                str(self.target), f"step must write {nbytes} bytes, but got {written} bytes"
            )
        self.position += nbytes
        self._pending.append(self.position)
        waited_s = time.monotonic() - self._synced_time
        if self.position - self._synced_at >= SYNC_BYTES or waited_s >= SYNC_PAUSE_S:
            self._sync()

    def _write_pieces(self, view: memoryview, start: int) -> None:
        """Bytes from `start` on into the buffer, which is emptied wherever a piece ends."""
        done = 0
        while done < len(view):
            room = PIECE_BYTES - (start + done) % PIECE_BYTES
            self._data.write(view[done : done + room])
            if room <= len(view) - done:
                self._data.flush()
            done += room

    def finish(self) -> None:
        """Sync everything and give the file its name."""
        if self.position != self.total_bytes:
            raise IngleError(
                str(self.target),
                f"file must have {self.total_bytes} bytes at the end, but got {self.position}",
            )
        self._sync()
        self._data.close()
        self._partial.replace(self.target)
        _sync_folder(self.target.parent)
        self._journal_path.unlink(missing_ok=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            disk_failed = isinstance(error, OSError)
            if not self._data.closed and self._pending and not disk_failed:
                self._sync()
        finally:
            self._data.close()
            self._journal.close()

    def _finished_steps(self) -> list[int]:
        """Ends of the steps an earlier attempt finished; empty unless it had the same plan."""
        self._journal.seek(0)
        lines = self._journal.read(1 << 26).decode("ascii", "replace").split("\n")[:-1]
        if not lines or lines[0] != self._first_line or not self._partial.is_file():
            return []
        size = self._partial.stat().st_size
        ends: list[int] = []
        for line in lines[1:]:
            if (
                not line.isdecimal()
                or len(line) > 18
                or not (ends[-1] if ends else 0) <= int(line) <= size
            ):
                break
            ends.append(int(line))
        return ends

    def _restart_journal(self, ends: list[int]) -> None:
        lines = [self._first_line, *map(str, ends)]
        self._journal.seek(0)
        self._journal.truncate()
        self._journal.write("".join(f"{line}\n" for line in lines).encode())
        _sync_file(self._journal)

    def _sync(self) -> None:
        _sync_file(self._data)
        self._journal.write("".join(f"{end}\n" for end in self._pending).encode())
        _sync_file(self._journal)
        self._pending.clear()
        self._synced_at = self.position
        self._synced_time = time.monotonic()

    def _check_space(self, present_bytes: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        needed = self.total_bytes - present_bytes
        if needed > free:
            raise IngleError(
                str(self.target),
                f"disk must have {needed:,} bytes free, but got {free:,}",
                "free some space, or write to another disk",
            )


def _open_journal(path: Path) -> BinaryIO:
    journal = path.open("a+b")
    if fcntl is None:
        return journal
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        journal.close()
        raise IngleError(
            str(path), "file must have one writer, but another process is writing it"
        ) from None
    return journal


def _sync_file(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
