"""Owns the read-only memory map of one regular file, and how a damaged file is reported.

Nothing is copied here: a slice is a numpy view that keeps the map alive for as long as it is used.
It does not know any container.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import weakref
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ingle.errors import FileFormatError, IngleError

Bytes = NDArray[np.uint8]
_HUGE_PAGE = 2 << 20  # bytes
_DAMAGED = "it is damaged, or was cut: fetch or make it again"


def quoted(name: str | bytes, limit: int = 80) -> str:
    """A name out of a file, safe to print: escaped to ASCII and cut to `limit` characters."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return ascii(cut)


class FileMap:
    """One file, mapped read-only. descriptor: of the same file, open as long as this object is.

    Raises IngleError when the path is missing, unreadable, or not a regular file, so that a pipe or
    a device can neither block nor feed endless data.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.buffer: mmap.mmap | memoryview | bytes = b""
        self.size = 0
        try:
            self.descriptor = _open_regular(path)
            weakref.finalize(self, os.close, self.descriptor)
            self.size = os.fstat(self.descriptor).st_size
            if self.size:
                self.buffer = mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)
                _read_in_large_pieces(self.buffer, self.size)
        except (OSError, ValueError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise IngleError(_printable(path), f"file must be readable, but got {reason}") from None
        self.bytes: Bytes = np.frombuffer(self.buffer, dtype=np.uint8)

    @property
    def data_end(self) -> int:
        """Where the bytes that a header speaks of must end."""
        return self.size

    def slice(self, offset: int, nbytes: int) -> Bytes:
        """View of `nbytes` bytes at `offset`; the caller has checked the bounds."""
        return self.bytes[offset : offset + nbytes]

    def array(self, dtype: np.dtype[Any], offset: int, count: int) -> NDArray[Any]:
        """View of `count` items at `offset`, perhaps unaligned; the caller checked the bounds."""
        return self.bytes[offset : offset + count * dtype.itemsize].view(dtype)

    def release(self) -> None:
        """Let go of the pages read so far; views stay valid and are read again when used."""
        drop = getattr(mmap, "MADV_DONTNEED", None)
        if drop is not None and isinstance(self.buffer, mmap.mmap):
            self.buffer.madvise(drop)

    def fail(self, field: str, rule: str, hint: str = _DAMAGED) -> NoReturn:
        """Raise FileFormatError at this file; `field` names the tensor, key or header entry."""
        raise FileFormatError(self.where(field), rule, hint)

    def where(self, field: str) -> str:
        """`file: field`, the place an error message starts with."""
        return f"{_printable(self.path)}: {field}" if field else _printable(self.path)


def _read_in_large_pieces(buffer: mmap.mmap, size: int) -> None:
    """Have what comes from the disk lie in 2 MiB pieces in the cache of files, for all who map it.

    A read loop over pieces of 4 KiB is a third slower. Systems that cannot just go on.
    """
    if size >= _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            buffer.madvise(mmap.MADV_HUGEPAGE)


def _open_regular(path: Path) -> int:
    # O_NONBLOCK: opening a pipe that nobody writes to must not hang.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("something that is not a regular file")
    return descriptor


def _printable(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() else ascii(text)
