"""Owns the table of what runs: which architecture, from which layout, and what comes next.

`ingle inspect` reads it; a new architecture or layout is one line here.
"""

from __future__ import annotations

# Hugging Face's model_type -> layouts it runs from.
RUNS: dict[str, frozenset[str]] = {
    "llama": frozenset({"GGUF"}),
}

# Recognised, inspected and soon run.
COMING = ("gpt_oss", "qwen3", "qwen3_moe", "gpt2")


def why_not(architecture: str, layout: str) -> str:
    """Why a model of this architecture and layout does not run; "" when it does."""
    layouts = RUNS.get(architecture)
    if layouts is None and architecture in COMING:
        return f"architecture {architecture} is recognised and on its way"
    if layouts is None:
        known = ", ".join([*RUNS, *COMING])
        return f"architecture must be one of {known}, but got {architecture or 'none stated'}"
    if layout not in layouts:
        known = ", ".join(sorted(layouts))
        return f"{architecture} runs from {known} and not yet from {layout} files: convert it"
    return ""
