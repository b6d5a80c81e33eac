"""Owns loading: a container's tensors, asked for by role, become a backend's weight handles.

Bytes that already lie as a backend wants them are passed as views of the file. It does not know any
architecture; each file beside it names the roles it wants.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats import Container, TensorInfo
from ingle.formats.compressed_tensors import CompressedFile
from ingle.formats.mapping import quoted
from ingle.formats.packed import PackedFile, PackedTiles
from ingle.models.config import Config
from ingle.models.names import Layout, Names
from ingle.numerics import FORMATS, Format, decode
from ingle.numerics.int8_blocks import INT8
from ingle.numerics.int8_inputs import InputRounding
from ingle.ops import Backend, Linear, Norm, ScannedHead, Weight
from ingle.ops.protocol import TiledBackend

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_CELLS = {"F32": "<u4", "F16": "<u2", "BF16": "<u2"}  # formats whose columns can be moved
_WEIGHT = (".weight", "", ".scale")  # OpenAI calls the gain of a norm its scale


@dataclass(frozen=True)
class Tensor:
    """A tensor as stored; bytes are taken from the file when they are looked at.

    tiles: the kernel layout of a packed file, as long as nothing is rearranged. stays: its bytes
    run from where they lie, so that a view of them costs no memory.
    """

    where: str
    name: str
    format: str
    load: Callable[[], Bytes]
    tiles: PackedTiles | None = None
    stays: bool = False

    @cached_property
    def data(self) -> Bytes:
        """uint8 (*shape[:-1], row_bytes)."""
        return self.load()

    def with_data(self, data: Bytes, *, name: str = "", format: str = "") -> Tensor:
        """The tensor rearranged, perhaps under another name or in another format."""
        return Tensor(self.where, name or self.name, format or self.format, lambda: data)

    @property
    def fmt(self) -> Format:
        """The number format; FileFormatError for one that cannot be computed with."""
        if self.format not in FORMATS:
            rule = f"must be of a known number format, but got {self.format}"
            raise FileFormatError(self.where, f"tensor {quoted(self.name)} {rule}")
        return FORMATS[self.format]

    @property
    def cells(self) -> NDArray[np.unsignedinteger]:
        """One unsigned integer per weight, so that columns can be moved without changing a bit."""
        if self.format not in _CELLS:
            rule = f"must be one of {', '.join(_CELLS)}, but got {self.format}"
            raise UnsupportedError(self.where, f"tensor {quoted(self.name)} {rule}")
        return self.data.view(_CELLS[self.format])

    def transposed(self) -> Tensor:
        """(in, out) as (out, in); INT8, whose scales are of rows, as F32."""
        if self.format == INT8.name:
            turned = np.ascontiguousarray(decode(INT8, self.data).T)
            return self.with_data(turned.view(np.uint8), format="F32")
        return self.with_data(np.ascontiguousarray(self.cells.T).view(np.uint8))

    def rows(self, start: int, stop: int) -> Tensor:
        """A view of some rows of a matrix."""
        name = f"{self.name}[{start}:{stop}]"
        return self.with_data(self.data[start:stop], name=name)


class Checkpoint:
    """A container in one layout, seen by an architecture."""

    def __init__(
        self, container: Container, backend: Backend, layout: Layout, names: Names, config: Config
    ) -> None:
        self.container = container
        self.backend = backend
        self.layout = layout
        self.names = names
        self.config = config
        self.unused = set(container.tensors)
        self.top = Section(self, "")
        self._block = self._spelled("block")

    def block(self, index: int) -> Section:
        """The tensors of one layer. File pages of the layers before it are let go of, so that a
        backend which copies weights never holds a model twice."""
        self.container.release()
        return Section(self, self._block.format(index))

    def matrix(self, tensor: Tensor) -> Weight:
        """Handle of a matrix, or of a stack of them; tiles are used where they lie."""
        if tensor.tiles is not None and isinstance(self.backend, TiledBackend):
            return self.backend.tiled(tensor.name, tensor.fmt, tensor.tiles)
        return self.backend.matrix(tensor.name, tensor.fmt, tensor.data)

    def rounding(self, tensor: Tensor) -> InputRounding | None:
        """What the inputs of a matrix go through first, where the checkpoint says so."""
        if not isinstance(self.container, CompressedFile):
            return None
        return self.container.rounding(tensor.name)

    def finish(self, *ignored: str) -> None:
        """UnsupportedError when a tensor was not asked for and does not end in one of `ignored`:
        a bias, an adapter or a layer that silently did nothing would be a wrong answer."""
        left = sorted(name for name in self.unused if not name.endswith((*ignored, "\0")))
        if left:
            raise UnsupportedError(
                self.container.path.name,
                f"every tensor must be known to the architecture, but got {quoted(left[0])} "
                f"({len(left)} such)",
                "adapters must be merged first",
            )

    def _spelled(self, prefix: str) -> str:
        """The first spelling of a prefix that the file uses."""
        spellings = self.names[prefix]
        if isinstance(spellings, str):
            return spellings
        names = self.container.tensors
        used = (s for s in spellings if any(name.startswith(s.format(0)) for name in names))
        return next(used, spellings[0])


class Section:
    """Tensors under one prefix. Shapes are checked: FileFormatError names what is wrong."""

    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix

    def expert(self, index: int) -> Section:
        """The tensors of one expert, where each has its own."""
        prefix = self.checkpoint.names["expert"]
        assert isinstance(prefix, str)
        return Section(self.checkpoint, self.prefix + prefix.format(index))

    def has(self, role: str) -> bool:
        """Whether the layout has a name for the role, and the file a tensor of that name."""
        return role in self.checkpoint.names and self._info(role, _WEIGHT) is not None

    def stored(self, role: str, shape: tuple[int, ...], kind: Sequence[str] = _WEIGHT) -> Tensor:
        """The tensor of a role, of exactly this shape."""
        container, info = self.checkpoint.container, self._info(role, kind)
        where = container.path.name
        if info is None:
            name = next(self._spellings(role, kind))
            raise FileFormatError(
                where,
                f"tensor {quoted(name)} must exist, but got a file without it",
                "the file may be cut, or be of another architecture than it claims",
            )
        if _squeezed(info.shape) != _squeezed(shape):
            rule = f"must have shape {shape}, but got {info.shape}"
            raise FileFormatError(where, f"tensor {quoted(info.name)} {rule}")
        self.checkpoint.unused.discard(info.name)
        tiles = container.tiles(info.name) if isinstance(container, PackedFile) else None
        stays = isinstance(container, PackedFile) and tiles is None
        stored = (*shape[:-1], info.row_bytes)

        def load() -> Bytes:
            read = container.rows if isinstance(container, PackedFile) and stays else container.read
            return read(info.name).reshape(stored)

        return Tensor(where, info.name, info.format, load, tiles, stays)

    def length(self, role: str) -> int:
        """Rows of a matrix."""
        info = self._info(role, _WEIGHT)
        return info.shape[0] if info is not None and len(info.shape) == 2 else 1

    def matrix(self, role: str, rows: int, columns: int) -> Weight:
        """Handle of a weight (rows, columns)."""
        return self.checkpoint.matrix(self.stored(role, (rows, columns)))

    def linear(
        self, role: str, rows: int, columns: int, *, bias: bool = False, transposed: bool = False
    ) -> Linear:
        """Weight (rows, columns) with its bias (rows,). transposed: stored as (columns, rows)."""
        return self.split(role, (rows,), columns, bias=bias, transposed=transposed)[0]

    def split(
        self,
        role: str,
        rows: Sequence[int],
        columns: int,
        *,
        bias: bool = False,
        transposed: bool = False,
    ) -> list[Linear]:
        """Layers that are stored as one, a slice of rows each."""
        total = sum(rows)
        tensor = self.stored(role, (columns, total) if transposed else (total, columns))
        tensor = tensor.transposed() if transposed else tensor
        name, values = self.biases(role, (total,)) if bias else ("", None)
        rounding = self.checkpoint.rounding(tensor)
        if len(rows) == 1:
            weight = self.checkpoint.matrix(tensor)
            added = None if values is None else self._vector(name, values)
            return [Linear(weight, added, rounding)]
        parts, start = [], 0
        for count in rows:
            stop = start + count
            weight = self.checkpoint.matrix(tensor.rows(start, stop))
            part = f"{name}[{start}:{stop}]"
            added = None if values is None else self._vector(part, values[start:stop])
            parts.append(Linear(weight, added, rounding))
            start = stop
        return parts

    def qkv(
        self, rows: tuple[int, int, int], columns: int, *, bias: bool = False
    ) -> tuple[Linear, Linear, Linear]:
        """Query, key and value layers, stored as one or apart."""
        if self.has("qkv_proj"):
            q, k, v = self.split("qkv_proj", rows, columns, bias=bias)
            return q, k, v
        roles = ("q_proj", "k_proj", "v_proj")
        q, k, v = (
            self.linear(role, count, columns, bias=bias)
            for role, count in zip(roles, rows, strict=True)
        )
        return q, k, v

    def norm(self, role: str, width: int, eps: float, *, bias: bool = False) -> Norm:
        """Gain (width,), and with a bias LayerNorm's."""
        weight = self.vector(role, width)
        return Norm(weight, eps, self._vector(*self.biases(role, (width,))) if bias else None)

    def vector(self, role: str, length: int) -> Weight:
        """Handle of a vector, decoded to float32 (length,)."""
        return self._vector(*self.values(role, (length,)))

    def head(self, embed_tokens: Weight, rows: int, columns: int) -> Linear:
        """The output matrix, or the embedding where the file shares it; perhaps in two stages."""
        head = self._whole_head(embed_tokens, rows, columns)
        if self.checkpoint.layout != Layout.GGUF or not self.has("lm_head_scan"):
            return head
        scan = self.matrix("lm_head_scan", rows, columns)
        return ScannedHead(head.weight, head.bias, scan=scan)

    def _whole_head(self, embed_tokens: Weight, rows: int, columns: int) -> Linear:
        config = self.checkpoint.config
        tied = config.flag("tie_word_embeddings", not self.has("lm_head"))
        if not tied:
            return self.linear("lm_head", rows, columns)
        if self.has("lm_head"):  # a copy of the embedding
            self.stored("lm_head", (rows, columns))
        return Linear(embed_tokens)

    def values(
        self, role: str, shape: tuple[int, ...], kind: Sequence[str] = _WEIGHT
    ) -> tuple[str, Floats]:
        """A tensor's name and its numbers, float32 of that shape, each row in one piece."""
        tensor = self.stored(role, shape, kind)
        if tensor.stays and tensor.format == "F32" and sys.byteorder == "little":
            return tensor.name, np.require(tensor.data.view(np.float32), requirements="A")
        return tensor.name, np.ascontiguousarray(decode(tensor.fmt, tensor.data), np.float32)

    def biases(self, role: str, shape: tuple[int, ...]) -> tuple[str, Floats]:
        """The bias beside a weight: its name and its numbers."""
        return self.values(role, shape, (".bias",))

    def _vector(self, name: str, values: Floats) -> Weight:
        return self.checkpoint.backend.vector(name, np.ascontiguousarray(values))

    def _info(self, role: str, kind: Sequence[str]) -> TensorInfo | None:
        tensors = self.checkpoint.container.tensors
        return next((tensors[n] for n in self._spellings(role, kind) if n in tensors), None)

    def _spellings(self, role: str, kind: Sequence[str]) -> Iterator[str]:
        stems = self.checkpoint.names[role]
        for stem in (stems,) if isinstance(stems, str) else stems:
            yield from (f"{self.prefix}{stem}{suffix}" for suffix in kind)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the leading ones that GGUF's writers drop."""
    first = next((i for i, size in enumerate(shape) if size != 1), len(shape))
    return shape[first:]
