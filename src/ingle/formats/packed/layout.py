"""Owns where everything lies in a packed file, computed from the tensors of the GGUF it came from.

Writer and reader compute the same entries, so a file that says otherwise is refused. An entry is a
run of matrices of equal size, each a whole number of 4 KiB pages: a tensor's tiles, the bytes of a
tensor that has none, or the experts of one layer, where everything of an expert (gate, up, down,
biases) lies together. It does not know files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ingle.errors import FileFormatError
from ingle.formats.container import TensorInfo
from ingle.formats.mapping import quoted
from ingle.numerics import FORMATS
from ingle.numerics.tiles import num_tiles, tile_bytes

VERSION = "1"
HEADER = "gguf.header"  # the entry that holds the header of the GGUF
PAGE_BYTES = 4096
TILE_ALIGNMENT = 64  # bytes: a cache line, an AVX-512 register

# Formats whose tiles kernels read; the others keep the bytes of their GGUF.
TILED = frozenset({"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4"})
TILED |= {"Q6_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"}

_EXPERTS = re.compile(r"(.+)\.ffn_(gate|up|down)_exps\.(weight|bias)", re.DOTALL)
_EXPERT_PARTS = [(part, kind) for kind in ("weight", "bias") for part in ("gate", "up", "down")]


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor's share of each matrix of an entry. tile_stride 0: its plain bytes."""

    tensor: str
    offset: int
    nbytes: int
    tile_stride: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """Bytes (num_matrices, nbytes) of the packed file."""

    name: str
    num_matrices: int
    nbytes: int
    pieces: tuple[Piece, ...]


def entries_of(tensors: Mapping[str, TensorInfo]) -> list[Entry]:
    """The entries of a model, in the order of its tensors."""
    entries: list[Entry] = []
    placed: set[str] = set()
    labels = {HEADER}
    for name, info in tensors.items():
        if name in placed:
            continue
        group = _expert_group(tensors, name)
        members = group or [info]
        experts = info.shape[0] if group else _stack_height(info)
        label = f"{_prefix(name)}.experts" if group else name
        if label in labels:
            rule = f"entries must have names of their own, but got {quoted(label)} twice"
            raise FileFormatError("packed layout", rule, "rename the tensor of that name")
        labels.add(label)
        entries.append(_entry(label, members, experts))
        placed.update(member.name for member in members)
    return entries


def tile_stride(info: TensorInfo) -> int:
    """Bytes from one tile to the next; 0 when the tensor keeps its plain bytes."""
    if len(info.shape) < 2 or info.format not in TILED or not info.name.endswith(".weight"):
        return 0
    return _padded(tile_bytes(FORMATS[info.format], info.shape[-1]), TILE_ALIGNMENT)


def _entry(label: str, members: list[TensorInfo], num_matrices: int) -> Entry:
    pieces, offset = [], 0
    for info in members:
        stride = tile_stride(info)
        share = info.nbytes // num_matrices
        nbytes = stride * num_tiles(info.shape[-2]) if stride else share
        pieces.append(Piece(info.name, offset, nbytes, stride))
        offset = _padded(offset + nbytes, TILE_ALIGNMENT)
    return Entry(label, num_matrices, _padded(offset, PAGE_BYTES), tuple(pieces))


def _stack_height(info: TensorInfo) -> int:
    return math.prod(info.shape[:-2]) if tile_stride(info) else 1


def _prefix(name: str) -> str:
    match = _EXPERTS.fullmatch(name)
    return match[1] if match else ""


def _expert_group(tensors: Mapping[str, TensorInfo], name: str) -> list[TensorInfo]:
    """The tensors of one layer's experts, when all their matrices have tiles; else none."""
    if not _prefix(name):
        return []
    names = (f"{_prefix(name)}.ffn_{part}_exps.{kind}" for part, kind in _EXPERT_PARTS)
    members = [tensors[each] for each in names if each in tensors]
    heights = {info.shape[0] for info in members}
    weights = [info for info in members if info.name.endswith(".weight")]
    tiled = all(len(info.shape) == 3 and tile_stride(info) for info in weights)
    plain = all(len(info.shape) == 2 for info in members if info not in weights)
    return members if tiled and plain and len(heights) == 1 and 0 not in heights else []


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
