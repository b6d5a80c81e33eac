"""``ingle show``: owns the page about one model: what it is, and what it brings along.

``ingle inspect`` shows a file's formats and tensors; this shows what a person chooses by.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ingle import config, hub
from ingle.cli.layout import pairs, width_of_stdout
from ingle.cli.wording import count, printable
from ingle.errors import IngleError
from ingle.formats import open_container
from ingle.formats.packed import PackedFile
from ingle.formats.packed.price import price_of, shown
from ingle.formats.packed.requantized import choices_in
from ingle.formats.summary import Summary, summarize
from ingle.hub import shelf
from ingle.hub.progress import as_size
from ingle.llm.model import DEFAULT_CONTEXT
from ingle.llm.source import Source


def show(name: str, as_json: bool, modelfile: bool, template: bool) -> None:
    """Print what the model `name` is; it must be on this machine. Raises IngleError."""
    if modelfile:
        hub.locate(name)
        print(hub.modelfile_text(name))
        return
    path = hub.locate(name)
    source = Source(path)
    said = hub.settings(name)
    text = said["template"] or source.chat_template()
    if template:
        if text is None:
            rule = "the model must bring a chat template, but got none"
            raise IngleError(name, rule, "`ingle run --raw` continues text without one")
        print(text)
        return
    about = _about(name, summarize(source.container), source, said, text)
    about["packed"] = _packed(path, source)
    if as_json:
        print(json.dumps(about, ensure_ascii=False, allow_nan=False))
        return
    print(*_page(about, width_of_stdout()), sep="\n")


def _packed(path: Path, source: Source) -> dict[str, Any] | None:
    """The packed copy that a run would take: where it lies, and what its fewer bits cost."""
    copy = path if isinstance(source.container, PackedFile) else shelf.copy_of(path)
    if copy is None:
        return None
    choices = choices_in(open_container(copy).metadata)
    size = copy.stat().st_size
    return {"path": str(copy), "bytes": size, **choices, "price": price_of(choices)}


def _about(
    name: str, summary: Summary, source: Source, said: dict[str, Any], template: str | None
) -> dict[str, Any]:
    facts = summary.facts
    most = facts.sizes.get("max_position_embeddings")
    licence = said["license"] or summary.metadata.get("general.license")
    return {
        "name": name,
        "path": str(summary.path),
        "architecture": facts.architecture or None,
        "num_parameters": summary.num_parameters,
        "num_active_parameters": summary.num_active_parameters,
        "context_tokens": most,
        "context_in_use": _context_in_use(said["parameters"], most),
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


def _context_in_use(parameters: dict[str, Any], most: int | None) -> int:
    """Tokens of context that a run has without --context."""
    said: int | None = parameters.get("context") or config.get("context")
    return said or min(DEFAULT_CONTEXT, most or DEFAULT_CONTEXT)


def _context(about: dict[str, Any]) -> str:
    most, used = about["context_tokens"], about["context_in_use"]
    at_most = f"{most:,} tokens at most" if most else "not stated how many at most"
    return f"{at_most}; {used:,} in use unless --context says otherwise"


def _page(about: dict[str, Any], width: int | None) -> list[str]:
    total, active = about["num_parameters"], about["num_active_parameters"]
    characters = about["template_characters"]
    rows = {
        "model": about["name"],
        "file": f"{about['path']} ({as_size(about['file_bytes'])})",
        "architecture": about["architecture"] or "not stated",
        "parameters": count(total) + (f", {count(active)} per token" if active < total else ""),
        "context": _context(about),
        "quantization": f"{about['quantization']}, {about['bits_per_weight']} bits per weight",
        "packed": _packed_line(about["packed"]),
        "licence": (about["license"] or "not stated").strip().split("\n")[0],
        "template": f"{characters:,} characters" if characters else "none: use --raw",
        "sampling": _pairs(about["sampling"]) + ", unless asked otherwise",
        "parameters set": _pairs(about["parameters"]),
        "system": (about["system"] or "").strip().split("\n")[0],
        "runs here": "yes" if about["runs"] else "no: " + "; ".join(about["problems"]),
    }
    return pairs([(k, printable(text, 200)) for k, text in rows.items() if text], width)


def _packed_line(packed: dict[str, Any] | None) -> str:
    if packed is None:
        return ""
    choices: dict[str, str] = {p: packed[p] for p in ("head", "attention") if p in packed}
    said = shown(choices)
    return f"{as_size(packed['bytes'])}" + (f"; {said}" if said else "")


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
