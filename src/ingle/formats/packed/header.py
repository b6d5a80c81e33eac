"""Owns the header of a GGUF that lies in memory or in another file: parsed like any other."""

from __future__ import annotations

from pathlib import Path

from ingle.formats.mapping import Bytes, FileMap


class HeaderMap(FileMap):
    """A GGUF header that lies in another file; the data it speaks of lie elsewhere."""

    def __init__(self, path: Path, header: Bytes, file_bytes: int) -> None:
        self.path, self.size = path, len(header)
        self.bytes, self.buffer = header, header.data
        self._file_bytes = file_bytes

    @property
    def data_end(self) -> int:
        """Where the file that the header was taken from ended."""
        return self._file_bytes
