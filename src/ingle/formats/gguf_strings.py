"""Owns GGUF string arrays: finding where each string starts, and reading them lazily.

A vocabulary of 200 000 tokens and 446 000 merges is located without making one Python object per
string; strings come into being when they are asked for. It does not know metadata keys.

Layout (GGUF v3): every string is a little-endian u64 length followed by that many bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ingle.formats.mapping import Bytes, FileMap

MAX_STRINGS = 1 << 24
_LENGTH = struct.Struct("<Q")
_WINDOW_BYTES = 1 << 20
_WINDOW_BYTES_PER_STRING = 64
_GUESSES_PER_WINDOW = 8
_FEWEST_WORTH_GUESSING = 256


class StringArray(Sequence[str]):
    """A string array of a GGUF file, left in the memory map.

    Indexing decodes one string; `raw` gives its bytes; `strings` and `raws` read all at once.
    Raises FileFormatError when a string that is read as text is not UTF-8.
    """

    def __init__(self, file: FileMap, where: str, heads: NDArray[np.int64]) -> None:
        # heads: (num_strings + 1,) offsets in the file of each length field, then the end.
        self._file = file
        self._where = where
        self._heads = heads

    def __len__(self) -> int:
        return len(self._heads) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of memory: a place for each string, which stays in the file."""
        return self._heads.nbytes

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._text(self.raw(index), index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.strings())

    def raw(self, index: int) -> bytes:
        """Bytes of one string; IndexError past the end."""
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(index)
        start, end = self._heads[position] + 8, self._heads[position + 1]
        return self._file.bytes[start:end].tobytes()

    def raws(self) -> list[bytes]:
        """Bytes of every string."""
        blob, spans = self._spans()
        return [blob[start:end] for start, end in spans]

    def strings(self) -> list[str]:
        """Every string as text."""
        blob, spans = self._spans()
        try:
            return [blob[start:end].decode() for start, end in spans]
        except UnicodeDecodeError:
            return [self._text(raw, i) for i, raw in enumerate(self.raws())]

    def stored(self) -> bytes:
        """The strings as the file has them: each a u64 length and its bytes."""
        return self._file.bytes[self._heads[0] : self._heads[-1]].tobytes()

    def _spans(self) -> tuple[bytes, Iterator[tuple[int, int]]]:
        base = int(self._heads[0])
        blob = self._file.bytes[base : self._heads[-1]].tobytes()
        starts, ends = self._heads[:-1] + (8 - base), self._heads[1:] - base
        return blob, zip(starts.tolist(), ends.tolist(), strict=True)

    def _text(self, raw: bytes, index: int) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self._file.fail(
                f"{self._where}[{index}]",
                f"string must be UTF-8, but got byte {raw[error.start]:#04x} at {error.start}",
            )


def locate_strings(file: FileMap, where: str, start: int, count: int) -> tuple[StringArray, int]:
    """Find `count` strings from offset `start`; returns them and the offset after the last.

    The caller has compared `count` with MAX_STRINGS and what is left of the file.
    Raises FileFormatError when a string passes the end of the file.
    """
    pieces: list[NDArray[np.int64]] = []
    position, found = start, 0
    while found < count:
        heads, position = _locate_in_window(file, where, position, count - found)
        pieces.append(heads)
        found += len(heads)
    pieces.append(np.array([position], dtype=np.int64))
    return StringArray(file, where, np.concatenate(pieces)), position


def _locate_in_window(
    file: FileMap, where: str, start: int, wanted: int
) -> tuple[NDArray[np.int64], int]:
    """Heads of up to `wanted` strings that begin within one window, and the offset that follows."""
    stop = start + min(_WINDOW_BYTES, wanted * _WINDOW_BYTES_PER_STRING)
    pieces: list[NDArray[np.int64]] = []
    position = start
    guesses = 0 if wanted >= _FEWEST_WORTH_GUESSING else _GUESSES_PER_WINDOW
    while wanted > 0 and position < stop:
        heads = np.empty(0, dtype=np.int64)
        if guesses < _GUESSES_PER_WINDOW:
            heads = _guess_heads(file.bytes[position:stop])[: wanted - 1] + position
            guesses += 1
        if len(heads):
            last = int(heads[-1])
            pieces.append(heads)
            wanted -= len(heads)
            position = last + 8 + int(file.bytes[last])
        # The chain of guesses ends here (or guessing did not pay): follow lengths one by one.
        steps = 1 if guesses < _GUESSES_PER_WINDOW else wanted
        walked, position = _walk(file, where, position, min(steps, wanted), stop)
        pieces.append(np.array(walked, dtype=np.int64))
        wanted -= len(walked)
    return np.concatenate(pieces), position


def _guess_heads(window: Bytes) -> NDArray[np.int64]:
    """Longest chain of string heads from offset 0 that vector arithmetic can prove.

    A string shorter than 256 bytes starts with its length and seven zero bytes. Places that look
    so are taken as candidates, and kept as far as each one leads exactly to the next.
    """
    if len(window) < 16:
        return np.empty(0, dtype=np.int64)
    zero = window == 0
    run = ~zero[:-7]
    for shift in range(1, 8):
        run &= zero[shift : len(zero) - 7 + shift]
    heads = np.flatnonzero(run)
    if not len(heads) or heads[0] != 0:
        return np.empty(0, dtype=np.int64)
    linked = heads[:-1] + 8 + window[heads[:-1]] == heads[1:]
    breaks = np.flatnonzero(~linked)
    # The last head of an unbroken chain is not proven to end inside the file: leave it out.
    return heads[: breaks[0]] if len(breaks) else heads[:-1]


def _walk(file: FileMap, where: str, start: int, steps: int, stop: int) -> tuple[list[int], int]:
    """Follow length fields from `start` for up to `steps` strings that begin before `stop`."""
    heads: list[int] = []
    position, size, buffer, unpack = start, file.size, file.buffer, _LENGTH.unpack_from
    for _ in range(steps):
        if position >= stop:
            break
        if position + 8 > size:
            file.fail(where, f"strings must end inside the file's {size} bytes")
        (length,) = unpack(buffer, position)
        if length > size - position - 8:
            file.fail(
                where,
                f"string must end inside the file, but got length {length} at byte {position}",
            )
        heads.append(position)
        position += 8 + length
    return heads, position
