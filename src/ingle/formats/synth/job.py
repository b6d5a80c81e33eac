"""Owns writing a synthetic checkpoint: which files, which metadata, streamed and resumable.

It does not know names of tensors (`gpt_oss`, `dense`) nor how weights are drawn (`draw`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ingle.errors import IngleError
from ingle.formats.convert import config as configs
from ingle.formats.convert import vocabulary
from ingle.formats.mapping import Bytes
from ingle.formats.synth import byte_vocabulary
from ingle.formats.synth.planned import PlannedModel, plan
from ingle.formats.synth.tensor import Part
from ingle.formats.text_file import write_text
from ingle.formats.writer import Progress, TensorSpec, write_gguf, write_safetensors

_DRAWING = 1  # raise when the same seed would give other weights
_MAX_SEED = (1 << 63) - 1
_FILE_TYPES = {"MXFP4": 38, "Q8_0": 7, "BF16": 32}
_O200K_VOCAB = 201088
_HARMONY_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}<|message|>{{ message.content }}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
_PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def synthesize(
    name: str,
    target: str | Path,
    *,
    layers: int | None = None,
    experts: int | None = None,
    seed: int = 0,
    router_skew: float = 0.0,
    layout: str = "gguf",
    progress: Progress | None = None,
) -> Path:
    """Write a model of random weights and return the path of its weights file.

    target: a file for layout "gguf", a folder for "hf" and "original". A killed job resumes; the
    same arguments give the same bytes. progress(bytes done, bytes in all).
    Raises IngleError for impossible arguments, or when the disk is too small.
    """
    if not 0 <= seed <= _MAX_SEED:
        raise IngleError("--seed", f"must be from 0 to {_MAX_SEED}, but got {seed}")
    model = plan(name, layers, experts, router_skew, layout)
    target = Path(target)
    if layout == "gguf":
        if target.is_dir():
            raise IngleError(str(target), "target must be a file, but got a folder")
        return _write_gguf(target, model, _Weights(model, seed, router_skew), progress)
    if target.exists() and not target.is_dir():
        raise IngleError(str(target), "target must be a folder, but got a file")
    return _write_folder(target, model, _Weights(model, seed, router_skew), progress)


class _Weights:
    """The tensors of a plan under a seed, as a writer takes them."""

    def __init__(self, model: PlannedModel, seed: int, router_skew: float) -> None:
        self._tensors = {tensor.name: tensor for tensor in model.tensors}
        self._seed = seed
        self.specs = [TensorSpec(t.name, t.format, t.shape) for t in model.tensors]
        # What the weights follow from besides their shapes.
        self.job = json.dumps([_DRAWING, model.name, seed, router_skew, np.__version__])

    def read(self, name: str) -> Iterator[Bytes]:
        """Bytes of a tensor."""
        return self._tensors[name].pieces(self._seed)


def _write_gguf(
    path: Path, model: PlannedModel, weights: _Weights, progress: Progress | None
) -> Path:
    metadata = header(model)
    write_gguf(path, metadata, weights.specs, weights.read, job=weights.job, progress=progress)
    return path


def header(model: PlannedModel) -> dict[str, Any]:
    """All keys of the GGUF file of a plan, its tokenizer's among them."""
    formats = {tensor.format for tensor in model.tensors}
    return {
        "general.architecture": model.metadata["general.architecture"],
        **_general(model),
        **model.metadata,
        "general.quantization_version": 2,
        "general.file_type": next(_FILE_TYPES[name] for name in _FILE_TYPES if name in formats),
        **_tokenizer_keys(model.config),
    }


def _general(model: PlannedModel) -> dict[str, Any]:
    base, _, size = model.name.partition(":")
    return {
        "general.type": "model",
        "general.name": f"{base} {size} of random weights".replace("  ", " "),
        "general.basename": base,
        **({"general.size_label": size.upper()} if size else {}),
        "general.license": "apache-2.0",
        "general.tags": ["synthetic", "text-generation"],
    }


def _tokenizer_keys(config: dict[str, Any]) -> dict[str, Any]:
    if config["model_type"] != "gpt_oss":
        keys, template = byte_vocabulary.keys(config["vocab_size"]), _PLAIN_TEMPLATE
    elif config["vocab_size"] == _O200K_VOCAB:
        keys, template = vocabulary.keys_of_o200k_harmony(), _HARMONY_TEMPLATE
    else:
        eos_id = config["eos_token_id"]
        keys, template = byte_vocabulary.keys(config["vocab_size"], eos_id), _HARMONY_TEMPLATE
    return {**keys, "tokenizer.chat_template": template}


def _write_folder(
    folder: Path, model: PlannedModel, weights: _Weights, progress: Progress | None
) -> Path:
    files: dict[str, str] = {}
    if model.layout == "original":
        files["config.json"] = json.dumps(configs.to_openai(model.config))
        files["dtypes.json"] = json.dumps({t.name: _dtype(t.part) for t in model.tensors})
    else:
        files["config.json"] = json.dumps(model.config, indent=2)
        files |= vocabulary.folder_from_keys(_tokenizer_keys(model.config))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_text(folder / name, text)
    path, stated = folder / "model.safetensors", {"format": "pt"}
    write_safetensors(path, stated, weights.specs, weights.read, job=weights.job, progress=progress)
    return path


def _dtype(part: Part) -> str:
    """OpenAI's name of a stored type."""
    return {Part.ALL: "BF16", Part.CODES: "FP4", Part.EXPONENTS: "UE8"}[part]
