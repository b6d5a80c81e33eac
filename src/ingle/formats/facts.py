"""Owns what a checkpoint says about its model, in one vocabulary for all layouts.

GGUF metadata, Hugging Face's `config.json` and OpenAI's own `config.json` are read into the same
few fields (Hugging Face's names). Values are taken as found: whether a model can run on them is for
the model's own file to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingle.formats.detect import open_container
from ingle.formats.gguf import GgufFile
from ingle.formats.json_file import read_json_object
from ingle.formats.safetensors import SafetensorsFile

# GGUF's names of architectures, where they differ from Hugging Face's model_type.
MODEL_TYPES = {"gpt-oss": "gpt_oss", "gptoss": "gpt_oss", "qwen3moe": "qwen3_moe"}

# Field: (GGUF key under the architecture's prefix, names in config.json, best first).
_FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "num_hidden_layers": ("block_count", ("num_hidden_layers", "n_layer")),
    "hidden_size": ("embedding_length", ("hidden_size", "n_embd")),
    "intermediate_size": ("feed_forward_length", ("intermediate_size", "n_inner")),
    "moe_intermediate_size": ("expert_feed_forward_length", ("moe_intermediate_size",)),
    "num_attention_heads": ("attention.head_count", ("num_attention_heads", "n_head")),
    "num_key_value_heads": ("attention.head_count_kv", ("num_key_value_heads",)),
    "head_dim": ("attention.key_length", ("head_dim",)),
    "num_local_experts": ("expert_count", ("num_local_experts", "num_experts")),
    "num_experts_per_tok": ("expert_used_count", ("num_experts_per_tok", "experts_per_token")),
    "sliding_window": ("attention.sliding_window", ("sliding_window",)),
    "max_position_embeddings": (
        "context_length",
        ("max_position_embeddings", "n_positions", "n_ctx"),
    ),
    "vocab_size": ("vocab_size", ("vocab_size",)),
}
_OPENAI_KEYS = {"num_experts", "experts_per_token", "swiglu_limit"}
_MXFP4_PART = re.compile(r"(.*)[._](blocks|scales)")


@dataclass(frozen=True)
class ModelFacts:
    """architecture: Hugging Face's model_type, "" when nothing states one; sizes: see _FIELDS.

    layout: "GGUF", "Hugging Face", "OpenAI" or "safetensors". config: the raw `config.json`.
    """

    architecture: str
    layout: str
    name: str = ""
    quantization: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


def model_facts(container: GgufFile | SafetensorsFile) -> ModelFacts:
    """Read the facts of an opened model. Raises FileFormatError for a damaged `config.json`."""
    if isinstance(container, GgufFile):
        return _from_gguf(container)
    return _from_folder(container)


def open_model(path: str | Path) -> tuple[GgufFile | SafetensorsFile, ModelFacts]:
    """Open a model and read its facts."""
    container = open_container(path)
    return container, model_facts(container)


def mxfp4_part(name: str) -> tuple[str, str] | None:
    """("...mlp1_weight", "blocks" or "scales") of OpenAI's two-tensor MXFP4; None otherwise."""
    match = _MXFP4_PART.fullmatch(name)
    return (match[1], match[2]) if match else None


def _from_gguf(container: GgufFile) -> ModelFacts:
    metadata = container.metadata
    stated = metadata.get("general.architecture")
    prefix = stated if isinstance(stated, str) else ""
    sizes = _integers({name: metadata.get(f"{prefix}.{key}") for name, (key, _) in _FIELDS.items()})
    name = metadata.get("general.name")
    return ModelFacts(
        architecture=MODEL_TYPES.get(prefix, prefix),
        layout="GGUF",
        name=name if isinstance(name, str) else "",
        sizes=sizes,
    )


def _from_folder(container: SafetensorsFile) -> ModelFacts:
    folder = container.path if container.path.is_dir() else container.path.parent
    path = folder / "config.json"
    config = read_json_object(path) if path.is_file() else {}
    stated = config.get("model_type")
    layout = "Hugging Face" if config else "safetensors"
    if stated is None and config.keys() >= _OPENAI_KEYS:
        stated, layout = "gpt_oss", "OpenAI"
    found = {
        name: next((config[key] for key in keys if key in config), None)
        for name, (_, keys) in _FIELDS.items()
    }
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else ""
    return ModelFacts(
        architecture=stated if isinstance(stated, str) else "",
        layout=layout,
        quantization=method if isinstance(method, str) else "",
        sizes=_integers(found),
        config=config,
    )


def _integers(values: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
    }
