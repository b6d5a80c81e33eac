"""Owns memory for weights: zeroed, aligned, on huge pages where the system grants them.

Decode reads every weight once per token; with 4 KiB pages the walks of the page table cost more
than the reads.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item", bound=np.generic)

_CACHE_LINE = 64  # bytes; one AVX-512 register too
_HUGE_PAGE = 2 << 20


def aligned_zeros(shape: tuple[int, ...], dtype: type[Item]) -> NDArray[Item]:
    """Zeroed memory, taken from the system when touched; large arrays start on a huge page."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    huge = size >= 2 * _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE")
    raw = _huge_bytes(size + _HUGE_PAGE) if huge else np.zeros(size + _CACHE_LINE, np.uint8)
    offset = -raw.ctypes.data % (_HUGE_PAGE if huge else _CACHE_LINE)
    return raw[offset : offset + size].view(dtype).reshape(shape)


def _huge_bytes(size: int) -> NDArray[np.uint8]:
    # Private: shared anonymous memory is on huge pages only where the system says so for all.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)
