"""Owns measuring what this machine can do at most: memory, arithmetic, disk.

The figures are limits to judge kernels and plans by, not speeds of a model. It does not know where
they are kept.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ingle import _native

BUFFER_BYTES = 512 << 20  # beyond any cache
_PASSES = 15
_BLOCK_BYTES = 8 << 20
_FILE_BYTES = 256 << 20
_MOST_DISK_BYTES = 1 << 30


@dataclass(frozen=True)
class Rate:
    """A measured rate: the best pass, and the median of all, per second."""

    best: float
    median: float


def memory_read(threads: int, nbytes: int = BUFFER_BYTES) -> Rate:
    """Bytes per second that `threads` threads together read from memory, a slice each."""
    data = np.empty(nbytes, np.uint8)
    data.fill(1)  # pages exist only once they are written
    return _rate(nbytes, _native.measure_read(_native.Pool(threads), data, _PASSES))


def int8_peak(threads: int, isa: str) -> Rate:
    """Operations per second, two per multiply-add, of 8-bit products summed in 32 bits."""
    return _rate(*_native.measure_int8(_native.Pool(threads), isa, _PASSES))


def float_peak(threads: int, isa: str) -> Rate:
    """The same of float32."""
    return _rate(*_native.measure_float(_native.Pool(threads), isa, _PASSES))


def disk_read(folder: Path, file: Path | None = None) -> Rate:
    """Bytes per second of reading in order from the disk of `folder`, past the page cache.

    file: a large file to read from; without one, 256 MiB are written to `folder` and removed.
    Where the system cannot drop pages from its cache (macOS, Windows) the figure is the cache's.
    Raises OSError.
    """
    if file is not None:
        return _read(file)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".ingle-measure-") as staged:
        block = np.random.default_rng(0).bytes(_BLOCK_BYTES)  # no disk can compress it
        for _ in range(_FILE_BYTES // _BLOCK_BYTES):
            staged.write(block)
        staged.flush()
        os.fsync(staged.fileno())
        return _read(Path(staged.name))


def _read(file: Path) -> Rate:
    """Each block of `_BLOCK_BYTES` is one sample of the median; the whole read gives the best."""
    buffer, seconds, done = bytearray(_BLOCK_BYTES), [], 0
    with file.open("rb", buffering=0) as source:
        _forget(source.fileno())
        while done < _MOST_DISK_BYTES:
            begun = time.perf_counter()
            got = source.readinto(buffer)
            if not got or got < _BLOCK_BYTES:
                break
            seconds.append(time.perf_counter() - begun)
            done += got
        _forget(source.fileno())
    if not seconds:
        raise OSError(f"{file} has less than {_BLOCK_BYTES} bytes")
    return Rate(done / sum(seconds), _BLOCK_BYTES / statistics.median(seconds))


def _forget(handle: int) -> None:
    """Drop the file from the page cache, where the system can."""
    with contextlib.suppress(AttributeError, OSError):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def _rate(work: float, seconds: list[float]) -> Rate:
    return Rate(work / min(seconds), work / statistics.median(seconds))
