"""Owns GGUF files as containers: one file, or all the parts of a split model, read lazily.

It does not know what metadata keys mean to a model, nor how bytes become numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from ingle.errors import IngleError
from ingle.formats.container import TensorInfo
from ingle.formats.gguf_header import GgufHeader, parse_header
from ingle.formats.mapping import Bytes, FileMap, quoted

_PART_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)


class GgufFile:
    """A GGUF model: version, metadata and tensors; tensor bytes stay in the memory map.

    Metadata values: Python scalars and strings; numeric arrays as numpy views (perhaps unaligned);
    string arrays as `StringArray`; arrays of arrays as tuples. A split model shows the metadata of
    its first part and the tensors of all.
    """

    def __init__(self, parts: list[tuple[FileMap, GgufHeader]]) -> None:
        first, header = parts[0]
        self.path = first.path
        self.version = header.version
        self.alignment = header.alignment
        self.metadata: Mapping[str, Any] = MappingProxyType(header.metadata)
        self.value_types: Mapping[str, int] = MappingProxyType(header.types)
        self._maps = {file.path: file for file, _ in parts}
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(_merge(parts))

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a file, or the whole model when `path` is any part of a split one.

        Raises FileFormatError naming file, tensor and field; UnsupportedError for big endian,
        version 1 and unknown tensor types.
        """
        file = FileMap(Path(path))
        header = parse_header(file)
        num_parts = _split_number(file, header, "split.count", default=1)
        if num_parts <= 1:
            return cls([(file, header)])
        return cls(_open_parts(file, header, num_parts))

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the model, first part first."""
        return tuple(self._maps)

    def release(self) -> None:
        """Let go of memory that was read so far, for jobs that walk through a whole model."""
        for file in self._maps.values():
            file.release()

    def read(self, name: str) -> Bytes:
        """Bytes of a tensor, `(*shape[:-1], row_bytes)` uint8: a read-only view, no copy."""
        entry = self.tensors.get(name)
        if entry is None:
            raise IngleError(str(self.path), f"tensor must be in the file, but got {quoted(name)}")
        data = self._maps[entry.path].slice(entry.offset, entry.nbytes)
        return data.reshape(*entry.shape[:-1], entry.row_bytes)


def _open_parts(
    opened: FileMap, header: GgufHeader, num_parts: int
) -> list[tuple[FileMap, GgufHeader]]:
    match = _PART_NAME.fullmatch(opened.path.name)
    if match is None or int(match[3]) != num_parts:
        opened.fail(
            "metadata 'split.count'",
            f"part of {num_parts} must be named like NAME-00001-of-{num_parts:05}.gguf, "
            f"but got {quoted(opened.path.name)}",
            "keep the names that the parts were published under",
        )
    parts = []
    for number in range(1, num_parts + 1):
        path = opened.path.with_name(f"{match[1]}-{number:05}-of-{num_parts:05}.gguf")
        if path == opened.path:
            file, part = opened, header
        else:
            file = FileMap(path)
            part = parse_header(file)
        _check_part(file, part, number, num_parts)
        parts.append((file, part))
    return parts


def _check_part(file: FileMap, header: GgufHeader, number: int, num_parts: int) -> None:
    count = _split_number(file, header, "split.count", default=1)
    index = _split_number(file, header, "split.no", default=0)
    if count != num_parts or index != number - 1:
        file.fail(
            "metadata 'split.no'",
            f"part must be number {number - 1} of {num_parts}, but got {index} of {count}",
            "the parts come from different models, or were renamed",
        )


def _split_number(file: FileMap, header: GgufHeader, key: str, default: int) -> int:
    value = header.metadata.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        file.fail(f"metadata '{key}'", f"value must be a count, but got {quoted(str(value))}")
    return value


def _merge(parts: list[tuple[FileMap, GgufHeader]]) -> dict[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    for file, header in parts:
        for name, entry in header.tensors.items():
            if name in tensors:
                file.fail(f"tensor {quoted(name)}", "name must be unique across all parts")
            tensors[name] = entry
    first, header = parts[0]
    expected = _split_number(first, header, "split.tensors.count", default=len(tensors))
    if expected != len(tensors):
        first.fail(
            "metadata 'split.tensors.count'",
            f"parts must hold {expected} tensors together, but got {len(tensors)}",
        )
    return tensors
