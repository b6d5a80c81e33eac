"""Owns a synthetic model before it is written: metadata, tensors' names and shapes, no data.

A plan opens like a GGUF file, so that counting and planning need none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ingle.errors import IngleError, UnsupportedError
from ingle.formats.container import TensorInfo
from ingle.formats.convert import config as configs
from ingle.formats.convert import dense as dense_configs
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_header import DEFAULT_ALIGNMENT
from ingle.formats.mapping import Bytes, quoted
from ingle.formats.synth.dense import Gpt2, Llama
from ingle.formats.synth.gpt_oss import GptOss
from ingle.formats.synth.shapes import Config, config_of
from ingle.formats.synth.tensor import SynthTensor
from ingle.formats.writer import GGUF_VERSION
from ingle.numerics import FORMATS

LAYOUTS = ("gguf", "hf", "original")
_MAX_SKEW = 8.0


@dataclass(frozen=True)
class PlannedModel:
    """What a synthetic checkpoint will hold.

    config: Hugging Face's dictionary. metadata: GGUF keys without the tokenizer's.
    """

    name: str
    layout: str
    config: Config
    metadata: Mapping[str, Any]
    tensors: tuple[SynthTensor, ...]

    def open(self) -> PlannedGguf:
        """The plan as a container; IngleError unless its layout is gguf."""
        if self.layout != "gguf":
            raise IngleError(self.name, f"plan must be of a GGUF file, but got {self.layout}")
        return PlannedGguf(self)


class PlannedGguf(GgufFile):
    """A GGUF file that is not there: `read` gives zeros that take no memory."""

    def __init__(self, model: PlannedModel) -> None:
        self.path = Path(model.name)
        self.version = GGUF_VERSION
        self.alignment = DEFAULT_ALIGNMENT
        self.metadata = MappingProxyType(dict(model.metadata))
        self.value_types = MappingProxyType({})
        self._maps = {}
        infos = {tensor.name: _info(tensor, self.path) for tensor in model.tensors}
        self.tensors = MappingProxyType(infos)

    def read(self, name: str) -> Bytes:
        """Zeros `(*shape[:-1], row_bytes)` that share one byte of memory."""
        info = self.tensors.get(name)
        if info is None:
            raise IngleError(str(self.path), f"tensor must be in the model, but got {quoted(name)}")
        return np.broadcast_to(np.zeros(1, np.uint8), (*info.shape[:-1], info.row_bytes))


def plan(
    name: str,
    layers: int | None = None,
    experts: int | None = None,
    router_skew: float = 0.0,
    layout: str = "gguf",
    matrix_format: str = "Q8_0",
) -> PlannedModel:
    """The plan of a named model, perhaps of other depth or number of experts.

    matrix_format: of GGUF's dense matrices. Raises IngleError for what cannot be made.
    """
    config = config_of(name, layers, experts)
    model_type = config["model_type"]
    if layout not in LAYOUTS or (layout == "original" and model_type != "gpt_oss"):
        rule = f"format must be {', '.join(LAYOUTS)} (original: gpt-oss), but got {layout!a:.80}"
        raise IngleError("--format", rule)
    if not 0 <= router_skew <= _MAX_SKEW:
        raise IngleError("--router-skew", f"must be from 0 to {_MAX_SKEW}, but got {router_skew}")
    if router_skew and model_type not in ("gpt_oss", "qwen3_moe"):
        raise UnsupportedError("--router-skew", f"model must have experts, but got {name}")
    tensors = tuple(_tensors(config, router_skew, layout, matrix_format))
    of = configs.gpt_oss_metadata if model_type == "gpt_oss" else dense_configs.metadata
    return PlannedModel(name, layout, config, of(config), tensors)


def _tensors(
    config: Config, router_skew: float, layout: str, matrix_format: str
) -> Iterator[SynthTensor]:
    model: GptOss | Llama | Gpt2
    if config["model_type"] == "gpt_oss":
        model = GptOss(config, router_skew)
        if layout == "original":
            return model.openai()
    elif config["model_type"] == "gpt2":
        model = Gpt2(config)
    else:
        model = Llama(config, router_skew)
    return model.gguf(matrix_format) if layout == "gguf" else model.huggingface()


def _info(tensor: SynthTensor, path: Path) -> TensorInfo:
    row_bytes = FORMATS[tensor.format].row_bytes(tensor.shape[-1])
    nbytes = row_bytes * math.prod(tensor.shape[:-1])
    return TensorInfo(tensor.name, tensor.format, tensor.shape, row_bytes, nbytes, path, 0)
