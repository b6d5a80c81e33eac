"""Owns the list of models, those here and those known by name, and their removal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingle.errors import IngleError, ModelNotFoundError
from ingle.hub import cache, lm_studio, manifest, ollama, place, registry, shelf, store
from ingle.hub.names import unknown
from ingle.hub.reference import Reference, parse

_TOOLS = {
    place.OLLAMA: "`ollama rm` removes it",
    place.LM_STUDIO: "LM Studio removes it",
    place.HUGGING_FACE: "another tool fetched it; `hf cache rm` removes it",
}


@dataclass(frozen=True)
class Listing:
    """A model by name: its file and whose it is, if it is on this machine (else None and "").

    base: what a model that was created here stands on; "" for those with files of their own.
    """

    name: str
    summary: str
    file_bytes: int
    path: Path | None
    owner: str = ""
    base: str = ""

    @property
    def packed_bytes(self) -> int | None:
        """Size of its packed copy, if there is one."""
        copy = shelf.copy_of(self.path) if self.path else None
        if self.path and self.path.parent == shelf.folder():
            copy = self.path
        return copy.stat().st_size if copy else None


def listing() -> list[Listing]:
    """Every model that is here, by name, then every known name that is not."""
    found = {model.name.lower(): model for model in _known()}
    for source in (_kept(), _elsewhere()):
        paths = {model.path for model in found.values() if not model.base}
        for model in source:
            if model.base or model.path not in paths:  # one file, one line, unless named anew
                found.setdefault(model.name.lower(), model)
    return sorted(found.values(), key=lambda model: (model.path is None, model.name.lower()))


def remove(name: str) -> int:
    """Remove the model `name`, and its packed copy, and return the bytes that are free again.

    What other tools keep is not removed, only its packed copy, if there is one; nor is a model that
    others here are made from. Raises ModelNotFoundError if there is no such name or it is not here.
    """
    entry = registry.find(name)
    _check_unused(entry.name if entry else name)
    copied_bytes = shelf.discard(_place_of(name, entry))
    try:
        return copied_bytes + _remove(name, entry)
    except IngleError:
        if copied_bytes:
            return copied_bytes
        raise


def _place_of(name: str, entry: registry.Entry | None) -> Path:
    """Where the model's own file lies or lay."""
    if entry is not None:
        return store.path_of(entry)
    kept = manifest.read(name) or manifest.read(registry.full_name(name)) or _by_label(name)
    if kept is not None and kept.path:
        return Path(kept.path)
    found = place.find(name)
    return found.path if found else Path(name).expanduser()


def _remove(name: str, entry: registry.Entry | None) -> int:
    if entry is not None:
        return _remove_entry(entry)
    kept = manifest.read(name) or manifest.read(registry.full_name(name)) or _by_label(name)
    if kept is not None:
        files = manifest.ours_alone(kept)
        manifest.discard(kept.name)
        return cache.discard(kept.repo, kept.commit, files) if files else 0
    found = place.find(name)
    if found is not None:
        rule = f"a model must be ingle's own to be removed, but got one of {found.owner}'s"
        raise IngleError(name, rule, _TOOLS.get(found.owner, ""))
    if registry.find_repository(name) or parse(name):
        raise _absent(name)
    raise unknown(name)


def _known() -> Iterator[Listing]:
    for entry in registry.REGISTRY.values():
        path = store.installed(entry)
        owner = place.INGLE if path else ""
        yield Listing(entry.name, entry.summary, entry.file_bytes, path, owner)
    for known in registry.REPOSITORIES.values():
        found = place.find(known.name)
        if found is None:
            yield Listing(known.name, known.summary, known.num_bytes, None)
        else:
            yield Listing(known.name, known.summary, found.num_bytes, found.path, found.owner)


def _kept() -> Iterator[Listing]:
    for kept in manifest.every():
        if not kept.base:
            found = place.find(kept.name)
            if found is not None:
                yield Listing(kept.name, kept.label, found.num_bytes, found.path, found.owner)
            continue
        with contextlib.suppress(IngleError):
            last = place.bases(kept.name)[-1].base
            base = place.find(last)
            path = base.path if base else Path(last)
            if path.exists():
                made = f"made from {kept.base}"
                yield Listing(kept.name, made, 0, path, place.INGLE, kept.base)


def _elsewhere() -> Iterator[Listing]:
    """What other tools keep."""
    for model in ollama.every():
        yield Listing(model.name, "", model.num_bytes, model.path, place.OLLAMA)
    finders = (
        (place.HUGGING_FACE, cache.repositories, cache.find),
        (place.LM_STUDIO, lm_studio.repositories, lm_studio.find),
    )
    for owner, repositories, find in finders:
        for repo in repositories():
            found = find(Reference(repo))
            if found is not None:
                path, choice, num_bytes = found
                yield Listing(repo, choice.label, num_bytes, path, owner)


def _remove_entry(entry: registry.Entry) -> int:
    with store.changing(entry, on_wait=_tell_waiting):
        path = store.path_of(entry)
        if not path.is_file():
            raise _absent(entry.name)
        freed_bytes = path.stat().st_size
        store.discard(entry)
    return freed_bytes


def _by_label(name: str) -> manifest.Manifest | None:
    """The one manifest that a reference means: user/repo:Q4_K_M of what was pulled as user/repo."""
    reference = parse(name)
    if reference is None:
        return None
    fitting = [
        kept
        for kept in manifest.every()
        if kept.repo.lower() == reference.repo.lower()
        and reference.wish.lower() in ("", kept.label.lower())
    ]
    return fitting[0] if len(fitting) == 1 else None


def _check_unused(name: str) -> None:
    names = {name.lower(), registry.full_name(name)}
    users = [kept.name for kept in manifest.every() if kept.base.lower() in names]
    if users:
        rule = f"no other model must be made from it, but got {', '.join(users)}"
        raise IngleError(name, rule, f"remove {users[0]} first")


def _absent(name: str) -> ModelNotFoundError:
    rule = "a model must be on this machine to be removed, but got none"
    return ModelNotFoundError(name, rule, "`ingle list` shows what is here")


def _tell_waiting() -> None:
    print("another ingle is changing this model; waiting for it", file=sys.stderr)
