"""Owns where a model lies already: ingle's folder, Hugging Face's cache, Ollama, LM Studio.

Nothing is fetched, written or opened here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingle.errors import IngleError
from ingle.hub import cache, lm_studio, manifest, ollama, registry, shelf, store
from ingle.hub.choice import Choice
from ingle.hub.reference import Reference, parse

INGLE, HUGGING_FACE, OLLAMA, LM_STUDIO = "ingle", "Hugging Face", "Ollama", "LM Studio"
_MAX_BASES = 16


@dataclass(frozen=True)
class Found:
    """A model on this machine. owner: who keeps its files; label: its quant, if known."""

    name: str
    path: Path
    num_bytes: int
    owner: str
    label: str = ""


def find(name: str) -> Found | None:
    """Where the model `name` lies, by any of its names; None if it would have to be fetched.

    Raises FileFormatError for a damaged manifest.
    """
    entry = registry.find(name)
    if entry is not None:
        path = store.installed(entry)
        return Found(entry.name, path, entry.file_bytes, INGLE) if path else None
    pulled = _pulled(registry.full_name(name)) or _pulled(name)
    if pulled is not None:
        return pulled
    known = registry.find_repository(name)
    if known is not None:
        return _by_references(known.name, (known.reference, *known.also)) or _ollama(known.name)
    reference = parse(name)
    found = _by_references(name, (reference,)) if reference else None
    return found or _ollama(name)


def is_here(name: str) -> bool:
    """Whether `name`, which is no path, is a model that can be opened without fetching.

    Raises FileFormatError for a damaged manifest.
    """
    return bool(bases(name)) or find(name) is not None


def base_of(name: str) -> manifest.Manifest | None:
    """The manifest of a model that was created or copied, not fetched; None for others."""
    found = manifest.read(name) or manifest.read(registry.full_name(name))
    return found if found and found.base else None


def bases(name: str) -> list[manifest.Manifest]:
    """The manifests from `name` down to the model that holds weights.

    Raises IngleError when they lead in a circle.
    """
    chain: list[manifest.Manifest] = []
    while (made := base_of(name)) is not None:
        chain.append(made)
        name = made.base
        if len(chain) > _MAX_BASES:
            rule = f"a model must stand on at most {_MAX_BASES} others, but got more"
            raise IngleError(chain[0].name, rule, "create it again from a model with weights")
    return chain


def _pulled(name: str) -> Found | None:
    found = manifest.read(name)
    if found is None or found.base or not found.path:
        return None
    path = Path(found.path)
    folder = path if path.is_dir() else None
    whole = path.exists() and all(_part(found, folder, file) for file in found.files)
    if not whole and (copy := shelf.copy_of(path)) is not None:
        return Found(found.name, copy, copy.stat().st_size, INGLE, found.label)
    return Found(found.name, path, found.num_bytes, INGLE, found.label) if whole else None


def _part(found: manifest.Manifest, folder: Path | None, file: str) -> bool:
    snapshot = folder or cache.folder_of(found.repo) / "snapshots" / found.commit
    return (snapshot / file).is_file()


Finder = Callable[[Reference], tuple[Path, Choice, int] | None]
_FINDERS: tuple[tuple[str, Finder], ...] = (
    (HUGGING_FACE, cache.find),
    (LM_STUDIO, lm_studio.find),
)


def _by_references(name: str, references: tuple[Reference, ...]) -> Found | None:
    for reference in references:
        for owner, finder in _FINDERS:
            found = finder(reference)
            if found is not None:
                path, choice, num_bytes = found
                return Found(name, path, num_bytes, owner, choice.label)
    return None


def _ollama(name: str) -> Found | None:
    model = ollama.find(name)
    return Found(model.name, model.path, model.num_bytes, OLLAMA) if model else None
