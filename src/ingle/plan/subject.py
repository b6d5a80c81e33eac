"""Owns what is planned: a known architecture in a quantization, or a file as it is.

Both become a container whose tensors have shapes and formats and no data, so that planning a model
of any size reads headers at most. It does not know machines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.formats import GgufFile, TensorInfo
from ingle.formats.compressed_tensors import METHOD, CompressedFile, read_config
from ingle.formats.convert import config as gpt_oss_config
from ingle.formats.convert import dense as dense_config
from ingle.formats.facts import ModelFacts, open_model
from ingle.formats.gguf_strings import StringArray
from ingle.formats.mapping import Bytes
from ingle.formats.packed import PackedFile
from ingle.formats.safetensors import SafetensorsFile
from ingle.formats.synth import PlannedModel
from ingle.formats.synth.dense import Gpt2, Llama
from ingle.formats.synth.gpt_oss import GptOss
from ingle.formats.synth.tensor import SynthTensor
from ingle.numerics import FORMATS
from ingle.plan.catalog import KNOWN, Config, find, unknown
from ingle.plan.recipe import Recipe

_HEADER_BYTES = {"gpt_oss": 13_000_000, "llama": 2_000_000}  # a GGUF file's vocabulary
_OTHER_HEADER_BYTES = 6_000_000
_HEADER_SLACK_BYTES = 16_000_000
_MOST_GROWTH = 2  # of a folder: vectors in BF16 are read as F32
_EXPERTS = "_exps.weight"
_SMALL = ("ffn_gate_inp.weight", "position_embd.weight")  # never quantized


@dataclass(frozen=True)
class Subject:
    """name: in a person's words. container: opens without data. file_bytes: on disk, headers too.
    mapped: runs from the file's map, so that loading copies nothing. header_bytes: that stay in
    memory of the file's header, and to find its strings. metadata_bytes: of headers, which loading
    reads through.

    recipe: what a known model would be quantized to; None for a file, which is as it is. files: all
    that a path stands for.
    """

    name: str
    container: GgufFile | SafetensorsFile
    file_bytes: int
    recipe: Recipe | None
    path: Path | None = None
    mapped: bool = False
    header_bytes: int = 0
    metadata_bytes: int = 0
    files: tuple[Path, ...] = ()


class _Hollow(GgufFile):
    """A GGUF file's header: matrices read as zeros that share the memory of a row."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self.path, self.version, self.alignment = file.path, file.version, file.alignment
        self.metadata, self.value_types, self.tensors = (
            file.metadata,
            file.value_types,
            file.tensors,
        )
        self._maps = {}

    def read(self, name: str) -> Bytes:
        """Zeros `(*shape[:-1], row_bytes)`; vectors as they are, for some are settings."""
        info = self.tensors[name]
        return self._file.read(name) if len(info.shape) < 2 else _zeros(info)


class _HollowInt8(CompressedFile):
    """The same of an INT8 folder, with ranges of inputs as they are."""

    def read(self, name: str) -> Bytes:
        """Zeros `(*shape[:-1], row_bytes)`; vectors as they are."""
        info = self.tensors[name]
        return super().read(name) if len(info.shape) < 2 else _zeros(info)


def _zeros(info: TensorInfo) -> Bytes:
    """Of a tensor's size, with the memory of a row."""
    row = np.zeros(info.row_bytes, np.uint8)
    return np.broadcast_to(row, (*info.shape[:-1], info.row_bytes))


def open_subject(name: str, quant: str | None = None) -> Subject:
    """A known architecture in the format `quant`, or the file or folder at a path.

    Raises ModelNotFoundError for neither, UnsupportedError for a format that does not fit, and
    FileFormatError for a damaged file.
    """
    known = find(name)
    if known is not None:
        return from_config(known.name, known.config, quant)
    try:
        path = Path(name).expanduser()
        exists = path.exists()
    except (OSError, ValueError, RuntimeError):
        exists = False
    if not exists:
        raise unknown(name)
    if quant is not None:
        rule = f"a file is planned as it is, but got --quant {quant!a:.40}"
        raise UnsupportedError(path.name, rule, f"name an architecture: {', '.join(KNOWN)}")
    return _from_path(path)


def from_config(name: str, config: Config, quant: str | None = None) -> Subject:
    """A model of Hugging Face's dictionary, in `quant` or the usual format."""
    experts = "num_experts_per_tok" in config
    recipe = Recipe.parse(quant or ("MXFP4" if experts else "Q8_0"), experts)
    planned = _planned(name, config, recipe, "F32")
    return Subject(name, *planned, recipe, metadata_bytes=_usual_header_bytes(config))


def _usual_header_bytes(config: Config) -> int:
    return _HEADER_BYTES.get(config["model_type"], _OTHER_HEADER_BYTES)


def _planned(name: str, config: Config, recipe: Recipe, small: str) -> tuple[GgufFile, int]:
    """The container and the bytes of its file."""
    tensors = tuple(_in_formats(_tensors(config, recipe.dense), recipe, small))
    gpt_oss = config["model_type"] == "gpt_oss"
    of = gpt_oss_config.gpt_oss_metadata if gpt_oss else dense_config.metadata
    model = PlannedModel(name, "gguf", config, MappingProxyType(dict(of(config))), tensors)
    container = model.open()
    payload = sum(info.nbytes for info in container.tensors.values())
    return container, payload + _usual_header_bytes(config)


def _tensors(config: Config, dense: str) -> Iterator[SynthTensor]:
    if config["model_type"] == "gpt_oss":
        return GptOss(config, 0.0).gguf(dense)
    if config["model_type"] == "gpt2":
        return Gpt2(config).gguf(dense)
    return Llama(config, 0.0).gguf(dense)


def _in_formats(
    tensors: Iterator[SynthTensor], recipe: Recipe, small: str
) -> Iterator[SynthTensor]:
    for tensor in tensors:
        if tensor.name.endswith(_EXPERTS):
            tensor = replace(tensor, format=recipe.experts)
        elif tensor.name.endswith(_SMALL):
            tensor = replace(tensor, format=small)
        FORMATS[tensor.format].row_bytes(tensor.shape[-1])  # IngleError unless blocks fill it
        yield tensor


def _from_path(path: Path) -> Subject:
    container, facts = open_model(path)
    if isinstance(container, GgufFile):
        size = sum(file.stat().st_size for file in container.files)
        name, hollow = facts.name or path.name, _Hollow(container)
        strings = (v for v in container.metadata.values() if isinstance(v, StringArray))
        places = sum(array.nbytes for array in strings)
        if isinstance(container, PackedFile):
            header = len(container.header)
            kept = header + places
            return Subject(name, hollow, size, None, path, True, kept, header, container.files)
        data = sum(info.nbytes for info in container.tensors.values())
        metadata = max(0, size - data)
        files = container.files
        return Subject(name, hollow, size, None, path, False, places, metadata, files)
    if facts.quantization == METHOD:
        return _from_int8(container, facts, path)
    return _from_folder(container, facts, path)


def _from_folder(container: SafetensorsFile, facts: ModelFacts, path: Path) -> Subject:
    """Hugging Face's and OpenAI's folders: the same tensors under GGUF's names."""
    where = container.path.name
    config = _huggingface_config(facts, where)
    formats = {info.format for info in container.tensors.values()}
    stored = _most_bytes(container, formats - {"U8"})
    experts = "MXFP4" if "U8" in formats else stored
    planned, planned_bytes = _planned(where, config, Recipe(experts, stored), stored)
    stored_bytes = sum(info.nbytes for info in container.tensors.values())
    if planned_bytes > _MOST_GROWTH * stored_bytes + _OTHER_HEADER_BYTES + _HEADER_SLACK_BYTES:
        rule = f"config.json must be of these {stored_bytes:,} bytes of tensors, but got sizes of"
        raise FileFormatError(where, f"{rule} {planned_bytes:,}", "it is another model's")
    size = sum(file.stat().st_size for file in container.files)
    return Subject(where, planned, size, None, path, files=container.files)


def _from_int8(container: SafetensorsFile, facts: ModelFacts, path: Path) -> Subject:
    """A compressed-tensors folder under its own names: codes stay codes, and inputs are rounded."""
    where = container.path.name
    _huggingface_config(facts, where)
    shown = _HollowInt8(container, read_config(facts.config["quantization_config"], where))
    size = sum(file.stat().st_size for file in container.files)
    return Subject(where, shown, size, None, path, files=container.files)


def _huggingface_config(facts: ModelFacts, where: str) -> dict[str, Any]:
    if facts.architecture not in {known.config["model_type"] for known in KNOWN.values()}:
        names = "gpt_oss, gpt2, llama, qwen3 or qwen3_moe"
        rule = f"architecture must be {names}, but got {facts.architecture!a:.60}"
        raise UnsupportedError(where, rule)
    if facts.layout == "OpenAI":
        return gpt_oss_config.from_openai(facts.config)
    return {"tie_word_embeddings": False, **facts.config}


def _most_bytes(container: SafetensorsFile, formats: set[str]) -> str:
    totals: Mapping[str, int] = {
        name: sum(t.nbytes for t in container.tensors.values() if t.format == name)
        for name in formats & FORMATS.keys()
    }
    if not totals:
        raise IngleError(container.path.name, "weights must be numbers, but got none")
    return max(totals, key=lambda name: (totals[name], name))


def payload_bytes(subject: Subject) -> int:
    """Bytes of all tensors."""
    return sum(
        FORMATS[info.format].row_bytes(info.shape[-1]) * math.prod(info.shape[:-1])
        for info in subject.container.tensors.values()
    )
