"""Owns the layout of Ollama's store, whose models are read where they lie. Nothing is written.

    <models>/manifests/<host>/<namespace>/<model>/<tag>    JSON: layers, each a digest and a type
    <models>/blobs/sha256-<hex>                            a GGUF file, parameters, a system text

Follows Ollama's manifest format (Docker image manifest, version 2).
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingle import config

_LIBRARY = ("registry.ollama.ai", "library")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*){0,3}(?::[\w.-]+)?", re.ASCII)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_KIND = "application/vnd.ollama.image."
_SMALL_BYTES = 1 << 20
# Where a service installed for all users keeps them.
_SYSTEM_WIDE = Path("/usr/share/ollama/.ollama/models")


@dataclass(frozen=True)
class OllamaModel:
    """A model of Ollama's: its GGUF blob, and where its other layers lie, by kind."""

    name: str
    path: Path
    num_bytes: int
    layers: dict[str, Path]

    def settings(self) -> dict[str, Any]:
        """`parameters` by Ollama's names, and `system`, where Ollama has them."""
        found: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, RecursionError):
            parameters = json.loads(_small(self.layers["params"]))
            if isinstance(parameters, dict):
                found["parameters"] = parameters
        with contextlib.suppress(OSError, ValueError, KeyError):
            found["system"] = _small(self.layers["system"])
        return found


def find(name: str) -> OllamaModel | None:
    """The model that Ollama knows by `name` (tag ``latest`` if left out), if it is whole."""
    if not _NAME.fullmatch(name):
        return None
    stem, _, tag = name.partition(":")
    parts = stem.split("/")
    for root in _roots():
        folder = root.joinpath("manifests", *_LIBRARY[: 3 - len(parts)], *parts)
        if len(parts) <= 4 and (found := _read(root, folder / (tag or "latest"), name)):
            return found
    return None


def every() -> Iterator[OllamaModel]:
    """All whole models of Ollama's, by name."""
    for root in _roots():
        manifests = root / "manifests"
        with contextlib.suppress(OSError):
            for path in sorted(path for path in manifests.rglob("*") if path.is_file()):
                *parts, tag = path.relative_to(manifests).parts
                model = _read(root, path, f"{_short(parts)}:{tag}") if len(parts) > 1 else None
                if model is not None:
                    yield model


def _short(parts: list[str]) -> str:
    """A name as people type it: without Ollama's own host, and its library."""
    for usual in _LIBRARY:
        parts = parts[1:] if parts[0] == usual and len(parts) > 1 else parts
    return "/".join(parts)


def _roots() -> list[Path]:
    roots = [config.get("ollama_models")]
    return [*roots, _SYSTEM_WIDE] if _SYSTEM_WIDE not in roots else roots


def _read(root: Path, path: Path, name: str) -> OllamaModel | None:
    try:
        layers = json.loads(_small(path))["layers"]
        found = {
            layer["mediaType"].removeprefix(_KIND): _blob(root, layer["digest"]) for layer in layers
        }
        model = found["model"]
        if "adapter" in found or not all(path.is_file() for path in found.values()):
            return None
        return OllamaModel(name, model, model.stat().st_size, found)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _blob(root: Path, digest: str) -> Path:
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise ValueError(digest)
    return root / "blobs" / f"sha256-{match[1]}"


def _small(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_SMALL_BYTES + 1)
    if len(data) > _SMALL_BYTES:
        raise ValueError("too large")
    return data.decode()
