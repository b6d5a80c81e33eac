"""``ingle show``: owns the page about one model: what it is, and what it brings along.

``ingle inspect`` shows a file's formats and tensors; this shows what a person chooses by.
"""

from __future__ import annotations

import json
from typing import Any

from ingle import hub
from ingle.cli.wording import count, printable
from ingle.errors import IngleError
from ingle.formats.summary import Summary, summarize
from ingle.hub.progress import as_size
from ingle.llm.source import Source


def show(name: str, as_json: bool, modelfile: bool, template: bool) -> None:
    """Print what the model `name` is; it must be on this machine. Raises IngleError."""
    if modelfile:
        hub.locate(name)
        print(hub.modelfile_text(name))
        return
    source = Source(hub.locate(name))
    said = hub.settings(name)
    text = said["template"] or source.chat_template()
    if template:
        if text is None:
            raise IngleError(name, "the model must bring a chat template, but got none")
        print(text)
        return
    about = _about(name, summarize(source.container), source, said, text)
    if as_json:
        print(json.dumps(about, ensure_ascii=False, allow_nan=False))
        return
    for line in _page(about):
        print(line)


def _about(
    name: str, summary: Summary, source: Source, said: dict[str, Any], template: str | None
) -> dict[str, Any]:
    facts = summary.facts
    licence = said["license"] or summary.metadata.get("general.license")
    return {
        "name": name,
        "path": str(summary.path),
        "architecture": facts.architecture or None,
        "num_parameters": summary.num_parameters,
        "num_active_parameters": summary.num_active_parameters,
        "context_tokens": facts.sizes.get("max_position_embeddings"),
        "quantization": summary.shares[0].format if summary.shares else None,
        "bits_per_weight": round(summary.bits_per_weight, 3),
        "file_bytes": summary.file_bytes,
        "license": licence if isinstance(licence, str) else None,
        "template_characters": len(template) if template else 0,
        "sampling": dict(source.recommended),
        "parameters": said["parameters"],
        "system": said["system"],
        "runs": not summary.problems,
        "problems": list(summary.problems),
    }


def _page(about: dict[str, Any]) -> list[str]:
    total, active = about["num_parameters"], about["num_active_parameters"]
    context, characters = about["context_tokens"], about["template_characters"]
    rows = {
        "model": about["name"],
        "file": f"{about['path']} ({as_size(about['file_bytes'])})",
        "architecture": about["architecture"] or "not stated",
        "parameters": count(total) + (f", {count(active)} per token" if active < total else ""),
        "context": f"{context:,} tokens" if context else "not stated",
        "quantization": f"{about['quantization']}, {about['bits_per_weight']} bits per weight",
        "licence": (about["license"] or "not stated").strip().split("\n")[0],
        "template": f"{characters:,} characters" if characters else "none: use --raw",
        "sampling": _pairs(about["sampling"]) + ", unless asked otherwise",
        "parameters set": _pairs(about["parameters"]),
        "system": (about["system"] or "").strip().split("\n")[0],
        "runs here": "yes" if about["runs"] else "no: " + "; ".join(about["problems"]),
    }
    width = max(map(len, rows))
    return [f"{k.ljust(width)}  {printable(text, 200)}" for k, text in rows.items() if text]


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
