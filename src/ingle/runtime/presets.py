"""Owns named ways to sample, and what a model's makers recommend: the one table of such values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingle.errors import IngleError

PRESETS: Mapping[str, Mapping[str, float]] = {
    # Stories, ideas: more surprise, fewer turns of phrase twice, no tail of nonsense.
    "creative": {"temperature": 1.1, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1},
    # Programs repeat themselves by nature, so nothing is penalized.
    "code": {"temperature": 0.5, "top_p": 0.95},
    # Facts, extraction, sums: hardly more than the likeliest tokens.
    "precise": {"temperature": 0.2, "top_p": 0.9},
}

# By model_type: OpenAI for gpt-oss; Qwen for Qwen3 (thinking).
_BY_ARCHITECTURE: Mapping[str, Mapping[str, float]] = {
    "gpt_oss": {"temperature": 1.0, "top_p": 1.0, "top_k": 0},
    "qwen3": {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
    "qwen3_moe": {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
}
# By how a model's own name begins, where the architecture says too little.
_BY_NAME: Mapping[str, Mapping[str, float]] = {"smollm2": {"temperature": 0.2, "top_p": 0.9}}
_ORDINARY: Mapping[str, float] = {"temperature": 0.8, "top_p": 0.95}


def preset(name: str) -> Mapping[str, Any]:
    """Sampling options of a preset; what it leaves out stays neutral. IngleError if unknown."""
    if not isinstance(name, str) or name not in PRESETS:
        raise IngleError("preset", f"preset must be one of {', '.join(PRESETS)}, but got {name!r}")
    return PRESETS[name]


def recommended(architecture: str, name: str) -> Mapping[str, Any]:
    """Sampling options for a model by its model_type and its own name, in any case."""
    for beginning, options in _BY_NAME.items():
        if name.lower().startswith(beginning):
            return options
    return _BY_ARCHITECTURE.get(architecture, _ORDINARY)
