"""Owns a synthetic model before it is written: metadata, tensors' names and shapes, no data.

It opens like a container, so that counting and planning need no file: `read` gives zeros that take
no memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ingle.errors import IngleError, UnsupportedError
from ingle.formats.container import TensorInfo
from ingle.formats.convert import config as configs
from ingle.formats.convert import dense as dense_configs
from ingle.formats.mapping import Bytes, quoted
from ingle.formats.synth.dense import Gpt2, Llama
from ingle.formats.synth.gpt_oss import GptOss
from ingle.formats.synth.shapes import Config, config_of
from ingle.formats.synth.tensor import SynthTensor
from ingle.numerics import FORMATS

LAYOUTS = ("gguf", "hf", "original")
_MAX_SKEW = 8.0


@dataclass(frozen=True)
class PlannedModel:
    """What a synthetic checkpoint will hold; see `ingle.formats.Container`.

    config: Hugging Face's dictionary. metadata: GGUF keys without the tokenizer's.
    """

    name: str
    layout: str
    config: Config
    metadata: Mapping[str, Any]
    synthetic: tuple[SynthTensor, ...]

    @property
    def path(self) -> Path:
        """A name for messages; there is no file."""
        return Path(self.name)

    @property
    def files(self) -> tuple[Path, ...]:
        """None."""
        return ()

    @cached_property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """All tensors by name, in file order, all at offset 0."""
        return {tensor.name: _info(tensor, self.path) for tensor in self.synthetic}

    def read(self, name: str) -> Bytes:
        """Zeros `(*shape[:-1], row_bytes)` that share one byte of memory."""
        info = self.tensors.get(name)
        if info is None:
            raise IngleError(self.name, f"tensor must be in the model, but got {quoted(name)}")
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
    fmt = None if tensor.format == "U8" else FORMATS[tensor.format]
    row_bytes = tensor.shape[-1] if fmt is None else fmt.row_bytes(tensor.shape[-1])
    nbytes = row_bytes * math.prod(tensor.shape[:-1])
    return TensorInfo(tensor.name, tensor.format, tensor.shape, row_bytes, nbytes, path, 0)
