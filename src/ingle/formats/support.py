"""Owns the table of what runs: which architecture, from which layout.

`ingle inspect` reads it; a new architecture or layout is one line here.
"""

from __future__ import annotations

_EVERYWHERE = frozenset({"GGUF", "Hugging Face"})

# Hugging Face's model_type -> layouts it runs from.
RUNS: dict[str, frozenset[str]] = {
    "gpt2": _EVERYWHERE,
    "gpt_oss": _EVERYWHERE | {"OpenAI"},
    "llama": _EVERYWHERE,
    "qwen3": _EVERYWHERE,
    "qwen3_moe": _EVERYWHERE,
}


def why_not(architecture: str, layout: str) -> str:
    """Why a model of this architecture and layout does not run; "" when it does."""
    layouts = RUNS.get(architecture)
    if layouts is None:
        known = ", ".join(RUNS)
        return f"architecture must be one of {known}, but got {architecture or 'none stated'}"
    if layout not in layouts:
        known = ", ".join(sorted(layouts))
        return f"{architecture} runs from {known} and not from {layout} files"
    return ""
