"""Owns what Ollama's lists and pages say of a model: read from its headers, kept while it stays.

It does not know whether the model is loaded, nor routes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from ingle import hub
from ingle.chat.tools.written import check_template
from ingle.errors import IngleError
from ingle.formats import GgufFile
from ingle.formats.summary import Summary, summarize
from ingle.llm.source import Source

_LONG = 64  # items of metadata beyond which a page leaves a list out
_LAYOUTS = {"GGUF": "gguf"}
_OLLAMAS = {"gpt_oss": "gptoss", "gpt-oss": "gptoss"}  # its names of architectures


@dataclass(frozen=True)
class Card:
    """A model by a name. path: None where only the server knows it (a model that is put up)."""

    name: str
    path: Path | None = None
    num_bytes: int = 0
    modified_s: float = 0.0
    details: Mapping[str, Any] | None = None

    @property
    def digest(self) -> str:
        """64 hex digits that change when the file or the name does; not a checksum of its bytes."""
        said = f"{self.name}\n{self.path}\n{self.num_bytes}\n{self.modified_s}"
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()

    def listed(self) -> dict[str, Any]:
        """An entry of ``/api/tags``."""
        return {
            "name": self.name,
            "model": self.name,
            "modified_at": _time(self.modified_s),
            "size": self.num_bytes,
            "digest": self.digest,
            "details": dict(self.details or _NOTHING),
        }


def card(name: str) -> Card:
    """The card of `name`; of a name that is no file's, or of a damaged one's, its name alone."""
    try:
        path = hub.locate(name)
        stat = path.stat()
        size, details = _read(path, stat.st_mtime_ns)
    except (IngleError, OSError):
        return Card(name)
    return Card(name, path, size, stat.st_mtime, details)


def page(name: str, verbose: bool = False) -> dict[str, Any]:
    """The answer of ``/api/show``. verbose: with long lists too. Raises IngleError.

    name: a model that is on this machine.
    """
    path = hub.locate(name)
    said, source = hub.settings(name), Source(path)
    template = said["template"] or source.chat_template() or ""
    about = card(name)
    licence = said["license"] or source.container.metadata.get("general.license")
    return {
        "license": licence if isinstance(licence, str) else "",
        "modelfile": hub.modelfile_text(name),
        "parameters": _parameters({**source.recommended, **said["parameters"]}),
        "template": template,
        **({"system": said["system"]} if said["system"] else {}),
        "details": dict(about.details or _NOTHING),
        "model_info": _model_info(source, verbose),
        "capabilities": capabilities(source.facts.architecture, template),
        "modified_at": _time(about.modified_s),
    }


def capabilities(architecture: str, template: str) -> list[str]:
    """What a model can do, in Ollama's words."""
    harmony = architecture == "gpt_oss"
    found = ["completion"]
    with contextlib.suppress(IngleError):
        if not harmony:
            check_template(template)
        found.append("tools")
    if harmony or "enable_thinking" in template or "reasoning_effort" in template:
        found.append("thinking")
    return found


_NOTHING: Mapping[str, Any] = {
    **{"parent_model": "", "format": "", "family": "", "families": []},
    **{"parameter_size": "", "quantization_level": ""},
}


@lru_cache(maxsize=256)
def _read(path: Path, _: int) -> tuple[int, Mapping[str, Any]]:
    """Bytes and details of a model; the second argument is when it was changed, in ns."""
    summary = summarize(Source(path).container)
    return summary.file_bytes, _details(summary)


def _details(summary: Summary) -> Mapping[str, Any]:
    facts = summary.facts
    family = _OLLAMAS.get(facts.architecture, facts.architecture)
    return {
        "parent_model": "",
        "format": _LAYOUTS.get(facts.layout, "safetensors"),
        "family": family,
        "families": [family],
        "parameter_size": _count(summary.num_parameters),
        "quantization_level": summary.shares[0].format if summary.shares else "",
    }


def _model_info(source: Source, verbose: bool) -> dict[str, Any]:
    """Metadata as GGUF names it, whatever the layout."""
    architecture = source.facts.architecture
    if isinstance(source.container, GgufFile):
        metadata = source.container.metadata
        return {key: _value(value, verbose) for key, value in metadata.items()}
    sizes = source.facts.sizes
    told = {f"{architecture}.{_GGUF.get(name, name)}": size for name, size in sizes.items()}
    return {"general.architecture": architecture, **told}


_GGUF = {  # Hugging Face's names of sizes in GGUF's words
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
}


def _value(value: Any, verbose: bool) -> Any:
    """A value of metadata for JSON: numbers that JSON has not are text, long lists are left out."""
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    items = list(value) if verbose or len(value) <= _LONG else None
    return None if items is None else [_value(_plain(item), verbose) for item in items]


def _plain(item: Any) -> Any:
    return item.item() if hasattr(item, "item") else item


def _parameters(found: Mapping[str, Any]) -> str:
    """Lines as ``ollama show --parameters`` prints them."""
    lines = []
    for name, value in found.items():
        for one in value if isinstance(value, list) else [value]:
            shown = f'"{one}"' if isinstance(one, str) else one
            lines.append(f"{_PARAMETERS.get(name, name):<30} {shown}")
    return "\n".join(lines)


_PARAMETERS = {  # ingle's names in Ollama's words
    "context": "num_ctx",
    "max_tokens": "num_predict",
    "repetition_penalty": "repeat_penalty",
    "threads": "num_thread",
}


def _count(number: int) -> str:
    """Parameters as Ollama writes them: ``134.5M``, ``20.9B``."""
    for unit, scale in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= scale:
            return f"{number / scale:.1f}{unit}"
    return str(number)


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")
