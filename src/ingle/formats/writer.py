"""Owns writing containers, streamed tensor by tensor: GGUF and safetensors.

Every size is known from the tensors' specifications before the first byte, so a killed job
resumes after the last tensor that reached the disk. It does not know where tensors come from.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.formats.ggml_types import BlockType, ggml_type
from ingle.formats.gguf_header import DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS
from ingle.formats.gguf_values import encode_metadata, encode_string
from ingle.formats.journal import Chunk, JournaledFile
from ingle.formats.mapping import quoted
from ingle.formats.safetensors_header import DTYPES

GGUF_VERSION = 3
SAFETENSORS_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor to be written: shape row-major, format as GGUF or safetensors spells it."""

    name: str
    format: str
    shape: tuple[int, ...]


# Gives the bytes of a tensor by name, whole or in pieces; called once per tensor, in order, and not
# at all for tensors that an earlier attempt finished.
TensorSource = Callable[[str], NDArray[Any] | Chunk | Iterable[NDArray[Any] | Chunk]]
Progress = Callable[[int, int], None]


def write_gguf(
    path: Path,
    metadata: Mapping[str, Any],
    tensors: Sequence[TensorSpec],
    read: TensorSource,
    *,
    job: str = "",
    progress: Progress | None = None,
) -> None:
    """Write a GGUF v3 file of alignment 32.

    metadata: see `encode_metadata`. job: whatever else decides the content (source, recipe): an
    earlier attempt is resumed only if header and job are equal. progress(bytes done, bytes in all).
    Raises IngleError when a specification is wrong or `read` gives another number of bytes.
    """
    header, sizes = gguf_header(metadata, tensors)
    _write(path, header, tensors, sizes, read, DEFAULT_ALIGNMENT, job, progress)


def gguf_header(
    metadata: Mapping[str, Any], tensors: Sequence[TensorSpec]
) -> tuple[bytes, list[int]]:
    """What a GGUF v3 file of alignment 32 begins with, and bytes of each tensor without padding.

    Raises IngleError when a specification is wrong.
    """
    if "general.alignment" in metadata:
        metadata = {**metadata, "general.alignment": DEFAULT_ALIGNMENT}
    infos, sizes, offset = [], [], 0
    for spec in tensors:
        type_id, kind = ggml_type(spec.format, where=f"tensor {quoted(spec.name)}")
        nbytes = _nbytes(spec, kind)
        if not 1 <= len(spec.shape) <= MAX_DIMS or 0 in spec.shape:
            raise IngleError(
                f"tensor {quoted(spec.name)}",
                f"shape must have 1 to {MAX_DIMS} dimensions of at least 1, but got {spec.shape}",
            )
        innermost_first = struct.pack(f"<{len(spec.shape)}Q", *reversed(spec.shape))
        infos.append(
            encode_string(spec.name)
            + struct.pack("<I", len(spec.shape))
            + innermost_first
            + struct.pack("<IQ", type_id, offset)
        )
        sizes.append(nbytes)
        offset += nbytes + -nbytes % DEFAULT_ALIGNMENT
    start = MAGIC + struct.pack("<IQQ", GGUF_VERSION, len(tensors), len(metadata))
    header = start + encode_metadata(metadata) + b"".join(infos)
    header += b"\0" * (-len(header) % DEFAULT_ALIGNMENT)
    return header, sizes


def write_safetensors(
    path: Path,
    metadata: Mapping[str, str],
    tensors: Sequence[TensorSpec],
    read: TensorSource,
    *,
    job: str = "",
    progress: Progress | None = None,
    alignment: int = SAFETENSORS_ALIGNMENT,
) -> None:
    """Write one safetensors file; arguments and errors as `write_gguf`, metadata strings only.

    The data begin at a multiple of `alignment` bytes, itself a multiple of 8.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    sizes, offset = [], 0
    for spec in tensors:
        kind = DTYPES.get(spec.format)
        if kind is None:
            raise IngleError(
                f"tensor {quoted(spec.name)}",
                f"format must be one safetensors has, but got {spec.format}",
                "write GGUF, or decode the tensor first",
            )
        nbytes = _nbytes(spec, kind)
        header[spec.name] = {
            "dtype": spec.format,
            "shape": spec.shape,
            "data_offsets": (offset, offset + nbytes),
        }
        sizes.append(nbytes)
        offset += nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % alignment)
    _write(path, struct.pack("<Q", len(text)) + text, tensors, sizes, read, 1, job, progress)


def write_raw(
    path: Path,
    header: bytes,
    names: Sequence[str],
    sizes: Sequence[int],
    read: TensorSource,
    *,
    job: str = "",
    progress: Progress | None = None,
) -> None:
    """Write a header and then, without padding, data of the given sizes, as `write_gguf` does."""
    specs = [TensorSpec(name, "U8", (size,)) for name, size in zip(names, sizes, strict=True)]
    _write(path, header, specs, sizes, read, 1, job, progress)


def _nbytes(spec: TensorSpec, kind: BlockType) -> int:
    columns = spec.shape[-1] if spec.shape else 1
    if columns % kind.block or min(spec.shape, default=0) < 0:
        raise IngleError(
            f"tensor {quoted(spec.name)}",
            f"rows of {kind.name} must be a multiple of {kind.block} long, but got {spec.shape}",
        )
    return columns // kind.block * kind.block_bytes * math.prod(spec.shape[:-1])


def _write(
    path: Path,
    header: bytes,
    tensors: Sequence[TensorSpec],
    sizes: Sequence[int],
    read: TensorSource,
    alignment: int,
    job: str,
    progress: Progress | None,
) -> None:
    """Step 0 is the header, step i+1 is tensor i with its padding."""
    names = [spec.name for spec in tensors]
    if len(set(names)) != len(names):
        raise IngleError(str(path), "tensor names must be unique, but got one twice")
    total = len(header) + sum(size + -size % alignment for size in sizes)
    with JournaledFile(path, header + job.encode(), total) as file:
        if file.steps_done == 0:
            file.write_step([header], len(header))
        done = max(0, file.steps_done - 1)
        for spec, size in zip(tensors[done:], sizes[done:], strict=True):
            padding = -size % alignment
            file.write_step(_chunks(read(spec.name), spec.name, size, padding), size + padding)
            if progress:
                progress(file.position, total)
        file.finish()


def _chunks(
    data: NDArray[Any] | Chunk | Iterable[NDArray[Any] | Chunk], name: str, size: int, padding: int
) -> Iterable[Chunk]:
    pieces = [data] if isinstance(data, np.ndarray | bytes | bytearray | memoryview) else data
    written = 0
    for piece in pieces:
        if isinstance(piece, np.ndarray):
            piece = np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data
        written += memoryview(piece).nbytes
        if written > size:
            break
        yield piece
    if written != size:
        raise IngleError(
            f"tensor {quoted(name)}", f"data must be {size} bytes for its shape, but got {written}"
        )
    yield b"\0" * padding
