"""Owns how much of this process's memory, and of files, is really there, page by page, as Linux
tells it; and how fast a file's pages come.

It does not know what lies in the memory, nor who planned it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ingle.formats.mapping import FileMap

Range = tuple[int, int]  # first address, and the one after the last

_PRESENT = np.uint64(1 << 63)  # of an entry of pagemap, as of a page in the cache of files
_ENTRY_BYTES = 8
_MOST_PAGES = 1 << 20  # of one read
SAMPLE_BYTES, _MOST_SAMPLE_BYTES = 32 << 20, 1 << 30  # of a file, to time how it comes
_BLOCK_BYTES = 1 << 20


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


def ranges_of(arrays: Iterable[NDArray[np.generic]]) -> list[Range]:
    """Addresses of arrays (n,) without gaps, or (m, n) whose rows may lie apart."""
    found: list[Range] = []
    for array in arrays:
        rows = [array] if array.flags.c_contiguous else list(array)
        found += [(row.ctypes.data, row.ctypes.data + row.nbytes) for row in rows]
    return found


def cold_bytes(files: Iterable[Path]) -> int:
    """Of files, what is not in the system's cache; 0 where the system does not tell."""
    return sum(_cold(FileMap(file)) for file in files)


def _cold(file: FileMap) -> int:
    cached = _cached(file)
    if cached is None:
        return 0
    return max(0, file.size - int(np.count_nonzero(cached)) * mmap.PAGESIZE)


def _cached(file: FileMap) -> NDArray[np.bool_] | None:
    """Page by page, whether it is in the cache of files."""
    pages = -(-file.size // mmap.PAGESIZE)
    states = np.zeros(pages, np.uint8)
    try:
        mincore = ctypes.CDLL(None, use_errno=True).mincore
    except (OSError, AttributeError, TypeError):  # Windows
        return None
    first, out = (ctypes.c_void_p(a.ctypes.data) for a in (file.bytes, states))
    if not pages or mincore(first, ctypes.c_size_t(file.size), out):
        return None
    return (states & 1).astype(np.bool_)


def touch_bytes_per_s(path: Path, threads: int) -> float | None:
    """How fast a file that is in the cache is mapped, all threads touching a share of it.

    None for a file of which less than SAMPLE_BYTES in one piece are there.
    """
    file = FileMap(path)
    first, size = _longest(file, cached=True)
    if size < SAMPLE_BYTES:
        return None
    shares = np.array_split(file.slice(first, size)[:: mmap.PAGESIZE], threads)
    begun = perf_counter()
    with ThreadPoolExecutor(threads) as workers:
        for _ in workers.map(np.max, shares):
            pass
    return size / (perf_counter() - begun)


def disk_bytes_per_s(path: Path) -> float | None:
    """How fast the disk gives a piece of a file that is not in the cache; it is there afterwards.

    None for a file of which less than a block in one piece is missing.
    """
    file = FileMap(path)
    first, size = _longest(file, cached=False)
    if size < _BLOCK_BYTES:
        return None
    buffer, done = bytearray(_BLOCK_BYTES), 0
    begun = perf_counter()
    with path.open("rb", buffering=0) as source:
        source.seek(first)
        while done < min(size, SAMPLE_BYTES) and (got := source.readinto(buffer)):
            done += got
    return done / (perf_counter() - begun) or None


def _longest(file: FileMap, cached: bool) -> tuple[int, int]:
    """First byte and length of the longest piece that is in the cache, or is not; at most
    _MOST_SAMPLE_BYTES, and 0 where the system does not tell."""
    there = _cached(file)
    if there is None:
        return 0, 0
    wanted = (there == cached).astype(np.int8)
    edges = np.flatnonzero(np.diff(wanted, prepend=np.int8(0), append=np.int8(0)))
    starts, sizes = edges[::2], edges[1::2] - edges[::2]
    if not len(starts):
        return 0, 0
    longest = int(sizes.argmax())
    first = int(starts[longest]) * mmap.PAGESIZE
    size = min(int(sizes[longest]) * mmap.PAGESIZE, file.size - first)
    return first, min(size, _MOST_SAMPLE_BYTES)
