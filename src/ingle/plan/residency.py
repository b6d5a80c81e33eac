"""Owns how much of this process's memory is really there, page by page, as Linux tells it.

It does not know what lies in the memory, nor who planned it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Range = tuple[int, int]  # first address, and the one after the last

FAULT_BYTES = 64 << 10  # Linux maps so much of a cached file around the page that was wanted
_PRESENT = np.uint64(1 << 63)  # of an entry of pagemap, as of a page in the cache of files
_ENTRY_BYTES = 8
_MOST_PAGES = 1 << 20  # of one read


def process_bytes() -> int | None:
    """Anonymous and mapped pages of this process; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    names = ("RssAnon", "RssFile", "RssShmem")
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))


def resident_bytes(ranges: Iterable[Range]) -> int | None:
    """Bytes of these addresses whose pages are there; None where the system does not tell."""
    try:
        with Path("/proc/self/pagemap").open("rb", buffering=0) as table:
            return sum(_resident(table.fileno(), *span) for span in ranges)
    except OSError:
        return None


def _resident(table: int, first: int, end: int) -> int:
    page, total = mmap.PAGESIZE, 0
    for at in range(first // page, -(-end // page), _MOST_PAGES):
        count = min(_MOST_PAGES, -(-end // page) - at)
        entries = np.frombuffer(os.pread(table, count * _ENTRY_BYTES, at * _ENTRY_BYTES), np.uint64)
        there = np.flatnonzero(entries & _PRESENT) + at
        lows, highs = np.maximum(there * page, first), np.minimum((there + 1) * page, end)
        total += int((highs - lows).sum())
    return total


def looked_up_bytes(table: Range, stride: int, rows: NDArray[np.int64], file_backed: bool) -> int:
    """Bytes of a table that are there after pieces of `stride` bytes were read, those of numbers
    `rows`: the pages they lie in, and of a file's map the pages around them."""
    first, end = table
    unit = FAULT_BYTES if file_backed else mmap.PAGESIZE
    starts = first + np.unique(rows) * stride
    touched: set[int] = set()
    for start in starts.tolist():
        touched.update(range(start // unit, (start + stride - 1) // unit + 1))
    return sum(min((at + 1) * unit, end) - max(at * unit, first) for at in touched)


def ranges_of(arrays: Iterable[NDArray[np.generic]]) -> list[Range]:
    """Addresses of whole arrays without gaps."""
    return [(array.ctypes.data, array.ctypes.data + array.nbytes) for array in arrays]


def cached_bytes(mapped: mmap.mmap | bytes) -> int | None:
    """Of a mapped file, what lies in the system's cache; None where the system does not tell."""
    if not isinstance(mapped, mmap.mmap):
        return len(mapped)
    data = np.frombuffer(mapped, np.uint8)
    pages = -(-data.nbytes // mmap.PAGESIZE)
    states = (ctypes.c_ubyte * pages)()
    try:
        mincore = ctypes.CDLL(None, use_errno=True).mincore
    except (OSError, AttributeError, TypeError):  # Windows
        return None
    if mincore(ctypes.c_void_p(data.ctypes.data), ctypes.c_size_t(data.nbytes), states):
        return None
    cached = int((np.frombuffer(bytes(states), np.uint8) & 1).sum()) * mmap.PAGESIZE
    return min(cached, data.nbytes)
