"""Owns fewer bytes at a stated price: the head or attention of a model in another format.

The model is seen as the GGUF file that would hold it so: its header is new, its rows are encoded
when they are read. What each choice costs is measured elsewhere (`price`). It does not know tiles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ingle import _native
from ingle.errors import IngleError, UnsupportedError
from ingle.formats.container import TensorInfo
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_header import parse_header
from ingle.formats.gguf_values import typed_metadata
from ingle.formats.mapping import Bytes
from ingle.formats.packed.header import HeaderMap
from ingle.formats.packed.layout import TILED
from ingle.formats.writer import TensorSpec, gguf_header
from ingle.numerics import FORMATS, decode

# What a person asks for -> format. Names of formats that have tiles are taken too.
CHOICES = {"q8": "Q8_0", "q6": "Q6_0", "q5": "Q5_0", "q4": "IQ4_NL"}
_KEY = "ingle.packed."  # of metadata: "ingle.packed.head" = "IQ4_NL"
_ATTENTION = re.compile(r"blk\.\d+\.attn_(q|k|v|qkv|output)\.weight")
_HEAD, _EMBEDDING, _SCAN = "output.weight", "token_embd.weight", "output_scan.weight"


def format_of(choice: str, option: str) -> str:
    """The format that a choice means. Raises UnsupportedError for one that kernels do not read."""
    name = CHOICES.get(choice.lower(), choice.upper())
    if name in TILED - {"MXFP4", "F32"}:
        return name
    ready = [short for short, full in CHOICES.items() if full in TILED]
    rule = f"the format must be one of {', '.join(ready)} or have tiles, but got {choice!a:.40}"
    raise UnsupportedError(option, rule, "those that kernels read well may be more one day")


class Requantized(GgufFile):
    """`source` with its head, its attention or both in other formats; errors as `format_of`.

    A head that the embedding shares is changed for both. scan: the head is there once more in this
    format, so that only its promising rows need to be read whole. Metadata say what was done.
    """

    def __init__(
        self, source: GgufFile, head: str = "", attention: str = "", scan: str = ""
    ) -> None:
        self.source = source
        self.path = source.path
        chosen = {"head": head, "attention": attention, "head_scan": scan}
        self.choices = {
            part: format_of(c, f"--{part.replace('_', '-')}") for part, c in chosen.items() if c
        }
        formats = {name: self._format(info) for name, info in source.tensors.items()}
        specs = [TensorSpec(n, formats[n], info.shape) for n, info in source.tensors.items()]
        if scan:
            whole = source.tensors[self.origin(_SCAN)]
            specs.append(TensorSpec(_SCAN, self._chosen("head_scan", whole), whole.shape))
        said = {_KEY + part: name for part, name in self.choices.items()}
        content, sizes = gguf_header({**typed_metadata(source), **said}, specs)
        self.header = np.frombuffer(content, np.uint8)
        self.num_bytes = len(content) + sum(size + -size % 32 for size in sizes)
        header = parse_header(HeaderMap(self.path, self.header, self.num_bytes))
        self.version, self.alignment = header.version, header.alignment
        self.metadata = MappingProxyType(header.metadata)
        self.value_types = MappingProxyType(header.types)
        self.tensors = MappingProxyType(header.tensors)

    def _format(self, info: TensorInfo) -> str:
        shared = _HEAD not in self.source.tensors
        if info.name == (_EMBEDDING if shared else _HEAD):
            return self._chosen("head", info)
        if _ATTENTION.fullmatch(info.name):
            return self._chosen("attention", info)
        return info.format

    def _chosen(self, part: str, info: TensorInfo) -> str:
        name = self.choices.get(part, info.format)
        block, columns = FORMATS[name].block, info.shape[-1]
        if columns % block:
            rule = f"rows of {name} must be a multiple of {block} long, but got {columns}"
            raise UnsupportedError(f"--{part.replace('_', '-')}", rule, "choose q8, q6, q5 or q4")
        return name

    def origin(self, name: str) -> str:
        """The source's tensor that this one is made of."""
        if name != _SCAN:
            return name
        return _HEAD if _HEAD in self.source.tensors else _EMBEDDING

    def recode(self, name: str, rows: Bytes) -> Bytes:
        """Rows of that tensor's origin, uint8 (rows, row_bytes), in the new format."""
        before, after = self.source.tensors[self.origin(name)].format, self.tensors[name].format
        if before == after:
            return rows
        weights = decode(FORMATS[before], rows)
        encoded, fault = _native.encode_rows(after, weights, None, False, 1)
        if fault:
            rule = f"weights must be finite and fit {after}, but got others"
            raise IngleError(f"{self.path}: tensor {name}", rule)
        return np.asarray(encoded, np.uint8)

    def read(self, name: str) -> Bytes:
        """Bytes of a whole tensor in the new format."""
        rows = self.source.read(self.origin(name))
        flat = self.recode(name, rows.reshape(-1, rows.shape[-1]))
        return flat.reshape(*rows.shape[:-1], flat.shape[-1])

    def release(self) -> None:
        """As the source."""
        self.source.release()


def choices_in(metadata: Mapping[str, object]) -> dict[str, str]:
    """What was done to a model: {"head": "IQ4_NL"}; {} for one as it was."""
    found = {part: metadata.get(_KEY + part) for part in ("head", "attention", "head_scan")}
    return {part: name for part, name in found.items() if isinstance(name, str)}
