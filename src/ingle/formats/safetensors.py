"""Owns safetensors models as containers: one file, shards with an index, or a folder of files.

OpenAI's `original/` folder is such a folder: its FP4 blocks and UE8 scales are U8 tensors and are
shown as stored. It does not know what the names or bytes mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from ingle.errors import FileFormatError, IngleError
from ingle.formats.container import TensorInfo
from ingle.formats.json_file import read_json_object
from ingle.formats.mapping import Bytes, FileMap, quoted
from ingle.formats.safetensors_header import SafetensorsHeader, parse_header

INDEX_SUFFIX = ".safetensors.index.json"
_INDEX_NAME = "model" + INDEX_SUFFIX


class SafetensorsFile:
    """A safetensors model; tensor bytes stay in the memory map.

    `read` gives bytes row by row like a GGUF file: view them as the format's type
    (`.view("<f4")`), or decode them through `ingle.numerics` (BF16 has no numpy type).
    """

    def __init__(self, path: Path, parts: list[tuple[FileMap, SafetensorsHeader]]) -> None:
        self.path = path
        self._maps = {file.path: file for file, _ in parts}
        metadata: dict[str, str] = {}
        tensors: dict[str, TensorInfo] = {}
        for file, header in parts:
            metadata.update(header.metadata)
            for name, entry in header.tensors.items():
                if name in tensors:
                    file.fail(f"tensor {quoted(name)}", "name must be unique across all files")
                tensors[name] = entry
        self.metadata: Mapping[str, str] = MappingProxyType(metadata)
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(tensors)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a `.safetensors` file, a `.safetensors.index.json`, or a folder of either.

        A folder is read by its index when it has one, else every `*.safetensors` in it is read.
        Raises FileFormatError naming file, tensor and field.
        """
        path = Path(path)
        if path.is_dir():
            return cls(path, _open_folder(path))
        if path.name.endswith(INDEX_SUFFIX):
            return cls(path, _open_index(path))
        return cls(path, [_open_file(path)])

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the model."""
        return tuple(self._maps)

    def release(self) -> None:
        """Let go of memory that was read so far, for jobs that walk through a whole model."""
        for file in self._maps.values():
            file.release()

    def read(self, name: str) -> Bytes:
        """Bytes of a tensor, `(*shape[:-1], row_bytes)` uint8: a read-only view, no copy."""
        entry = self.tensors.get(name)
        if entry is None:
            raise IngleError(str(self.path), f"tensor must be in the model, but got {quoted(name)}")
        data = self._maps[entry.path].slice(entry.offset, entry.nbytes)
        return data.reshape(*entry.shape[:-1], entry.row_bytes)

    def place(self, name: str) -> tuple[FileMap, int]:
        """The file that a tensor of the model lies in, and the byte of it that it begins at."""
        entry = self.tensors[name]
        return self._maps[entry.path], entry.offset


def _open_file(path: Path) -> tuple[FileMap, SafetensorsHeader]:
    file = FileMap(path)
    return file, parse_header(file)


def _open_folder(folder: Path) -> list[tuple[FileMap, SafetensorsHeader]]:
    indexes = sorted(folder.glob("*" + INDEX_SUFFIX))
    preferred = [index for index in indexes if index.name == _INDEX_NAME] or indexes
    if len(preferred) > 1:
        names = ", ".join(quoted(index.name) for index in preferred[:4])
        raise IngleError(str(folder), f"folder must have one index, but got {names}", "name one")
    if preferred:
        return _open_index(preferred[0])
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileFormatError(str(folder), "folder must hold safetensors files, but got none")
    return [_open_file(file) for file in files]


def _open_index(path: Path) -> list[tuple[FileMap, SafetensorsHeader]]:
    """The shards an index names; every tensor must lie in the shard the index says."""
    weight_map = read_json_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FileFormatError(f"{path}: weight_map", "index must map tensor names to files")
    for tensor, name in weight_map.items():
        bare = isinstance(name, str) and name.endswith(".safetensors")
        if not bare or any(mark in name for mark in "/\\:\0"):
            raise FileFormatError(
                f"{path}: weight_map {quoted(tensor)}",
                f"value must be the bare name of a safetensors file, but got {quoted(str(name))}",
            )
    shards = [_open_file(path.with_name(name)) for name in sorted(set(weight_map.values()))]
    stored = {tensor: file.path.name for file, header in shards for tensor in header.tensors}
    for tensor in weight_map.keys() | stored.keys():
        if weight_map.get(tensor) != stored.get(tensor):
            raise FileFormatError(
                f"{path}: weight_map {quoted(tensor)}",
                f"tensor must lie in the file the index names, "
                f"but got {quoted(str(stored.get(tensor)))} for {weight_map.get(tensor)!a}",
                "the shards and the index come from different models",
            )
    return shards
