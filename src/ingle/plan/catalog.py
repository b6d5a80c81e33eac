"""Owns the published models that can be planned by name, as their `config.json` states them.

Families and sizes, nothing else: it does not know files, formats or machines.
Sources: the configuration files of the publishers' own repositories on Hugging Face.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingle.errors import ModelNotFoundError
from ingle.formats.synth.shapes import config_of

Config = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """A published model: Hugging Face's dictionary, a person's name for it, its licence."""

    name: str
    title: str
    licence: str
    config: Config


def _gpt2(width: int, layers: int, heads: int) -> Config:
    return config_of("gpt2") | {"n_embd": width, "n_layer": layers, "n_head": heads}


def _qwen3(hidden: int, inner: int, layers: int, heads: int, tied: bool) -> Config:
    return config_of("qwen3:0.6b") | {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "tie_word_embeddings": tied,
    }


_QWEN3_235B = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "moe_intermediate_size": 1536,
    "num_hidden_layers": 94,
    "num_attention_heads": 64,
}


def _llama3(hidden: int, inner: int, layers: int, heads: int, tied: bool, dim: int = 128) -> Config:
    return config_of("smollm2:135m") | {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": dim,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rope_theta": 500000.0,
        "tie_word_embeddings": tied,
    }


def _smollm2(hidden: int, inner: int, layers: int, heads: int, kv_heads: int) -> Config:
    return config_of("smollm2:135m") | {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }


_APACHE, _MIT, _LLAMA = "Apache-2.0", "MIT", "Llama 3 Community License"
_ALL = (
    Known("gpt-oss:20b", "gpt-oss 20b", _APACHE, config_of("gpt-oss:20b")),
    Known("gpt-oss:120b", "gpt-oss 120b", _APACHE, config_of("gpt-oss:120b")),
    Known("gpt2", "GPT-2 small", _MIT, config_of("gpt2")),
    Known("gpt2:medium", "GPT-2 medium", _MIT, _gpt2(1024, 24, 16)),
    Known("gpt2:large", "GPT-2 large", _MIT, _gpt2(1280, 36, 20)),
    Known("gpt2:xl", "GPT-2 XL", _MIT, _gpt2(1600, 48, 25)),
    Known("qwen3:0.6b", "Qwen3 0.6B", _APACHE, config_of("qwen3:0.6b")),
    Known("qwen3:1.7b", "Qwen3 1.7B", _APACHE, _qwen3(2048, 6144, 28, 16, True)),
    Known("qwen3:4b", "Qwen3 4B", _APACHE, _qwen3(2560, 9728, 36, 32, True)),
    Known("qwen3:8b", "Qwen3 8B", _APACHE, _qwen3(4096, 12288, 36, 32, False)),
    Known("qwen3:14b", "Qwen3 14B", _APACHE, _qwen3(5120, 17408, 40, 40, False)),
    Known("qwen3:32b", "Qwen3 32B", _APACHE, _qwen3(5120, 25600, 64, 64, False)),
    Known("qwen3:30b-a3b", "Qwen3 30B-A3B", _APACHE, config_of("qwen3:30b-a3b")),
    Known("qwen3:235b-a22b", "Qwen3 235B-A22B", _APACHE, config_of("qwen3:30b-a3b") | _QWEN3_235B),
    Known("llama3.2:1b", "Llama 3.2 1B", _LLAMA, _llama3(2048, 8192, 16, 32, True, 64)),
    Known("llama3.2:3b", "Llama 3.2 3B", _LLAMA, _llama3(3072, 8192, 28, 24, True)),
    Known("llama3.1:8b", "Llama 3.1 8B", _LLAMA, _llama3(4096, 14336, 32, 32, False)),
    Known("llama3.1:70b", "Llama 3.1 70B", _LLAMA, _llama3(8192, 28672, 80, 64, False)),
    Known("smollm2:135m", "SmolLM2 135M", _APACHE, config_of("smollm2:135m")),
    Known("smollm2:360m", "SmolLM2 360M", _APACHE, _smollm2(960, 2560, 32, 15, 5)),
    Known("smollm2:1.7b", "SmolLM2 1.7B", _APACHE, _smollm2(2048, 8192, 24, 32, 32)),
)
KNOWN: Mapping[str, Known] = {known.name: known for known in _ALL}
_SPELLINGS = {
    "gpt2:small": "gpt2",
    **{name.replace(":", "-"): name for name in KNOWN},
    **{name.replace(":", ""): name for name in KNOWN},
}


def find(name: str) -> Known | None:
    """The model of that name, letter case aside; `gpt-oss-20b` is `gpt-oss:20b`."""
    lower = name.lower()
    return KNOWN.get(lower) or KNOWN.get(_SPELLINGS.get(lower, ""))


def unknown(name: str) -> ModelNotFoundError:
    """What to say of a name that is neither known nor a path."""
    close = difflib.get_close_matches(name.lower(), KNOWN, n=3, cutoff=0.4) or list(KNOWN)
    return ModelNotFoundError(
        "model",
        f"a model must be a known name or an existing path, but got {name!a:.60}",
        "names that can be planned: " + ", ".join(close),
    )
