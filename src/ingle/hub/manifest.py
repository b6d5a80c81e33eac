"""Owns manifests: small JSON files that say what a name of this machine stands for.

    <models>/.manifests/<name, percent-encoded>.json

A manifest names files in Hugging Face's cache that ingle fetched, or a model it is based on, with
settings over it. It does not know how files are fetched, nor what the settings do.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ingle import config
from ingle.errors import FileFormatError, IngleError
from ingle.hub.lock import locked

_VERSION = 1
_MAX_BYTES = 4 << 20
_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class Manifest:
    """What one name stands for: either files of a repository, or another model (`base`)."""

    name: str
    base: str = ""  # a name or an absolute path
    repo: str = ""
    commit: str = ""
    label: str = ""
    files: tuple[str, ...] = ()  # paths in the repository
    fetched: tuple[str, ...] = ()  # those that ingle, and no other tool, brought
    num_bytes: int = 0
    path: str = ""  # what to open
    settings: Mapping[str, Any] = field(default_factory=dict)


def read(name: str) -> Manifest | None:
    """The manifest of that name, letter case aside; None if there is none.

    Raises FileFormatError for a damaged one.
    """
    path = _path(name)
    try:
        if path is None or not path.is_file():
            return None
        if path.stat().st_size > _MAX_BYTES:
            raise _damaged(path)
        return _checked(json.loads(path.read_bytes()), path)
    except OSError as error:
        rule = f"manifest must be readable, but got {error.strerror or error}"
        raise FileFormatError(str(path), rule, "correct its permissions") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, IngleError):
            raise
        raise _damaged(path) from None


def write(manifest: Manifest) -> None:
    """Put the manifest in place, whole or not at all. Raises IngleError."""
    path = _path(manifest.name)
    if path is None:
        rule = f"a name must be short text, but got {manifest.name[:60]!r}"
        raise IngleError("NAME", rule, "for example my-model:1")
    text = json.dumps({"version": _VERSION, **asdict(manifest)}, indent=1, ensure_ascii=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, staged = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(staged).replace(path)
    except OSError as error:
        raise _not_writable(path.parent, error) from error


def exists(name: str) -> bool:
    """Whether there is a manifest of that name, sound or not."""
    path = _path(name)
    return path is not None and path.is_file()


def discard(name: str) -> None:
    """Remove the manifest of that name, if there is one."""
    path = _path(name)
    if path is not None:
        path.unlink(missing_ok=True)


def every() -> Iterator[Manifest]:
    """All manifests by name; damaged ones are passed over."""
    folder = _folder()
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            manifest = read(unquote(path.stem))
        except FileFormatError:
            continue
        if manifest is not None:
            yield manifest


def prepare() -> Path:
    """Make what manifests need, before long work that ends in one; the lock file to hold.

    Raises IngleError when they could not be written.
    """
    lock = config.models_dir() / ".locks" / "manifests"
    try:
        for folder in (_folder(), lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=_folder()):
            pass
    except OSError as error:
        raise _not_writable(config.models_dir(), error) from error
    return lock


@contextmanager
def changing() -> Iterator[None]:
    """Be the only process that reads manifests in order to write one."""
    with locked(prepare(), lambda: None):
        yield


def ours_alone(kept: Manifest) -> tuple[str, ...]:
    """Files that ingle fetched for this manifest and that no other one of the snapshot needs."""
    others = {
        file
        for other in every()
        if other.name.lower() != kept.name.lower()
        and (other.repo, other.commit) == (kept.repo, kept.commit)
        for file in other.files
    }
    return tuple(file for file in kept.fetched if file not in others)


def _folder() -> Path:
    return config.models_dir() / ".manifests"


def _path(name: str) -> Path | None:
    try:
        encoded = quote(name.lower(), safe="")
    except UnicodeEncodeError:
        return None
    # percent-encoding keeps dots; a leading one would hide the file
    safe = encoded and len(encoded) <= _NAME_CHARACTERS and not encoded.startswith(".")
    return _folder() / f"{encoded}.json" if safe else None


def _checked(value: Any, path: Path) -> Manifest:
    kinds = {"files": list, "fetched": list, "num_bytes": int, "settings": dict}
    if not isinstance(value, dict) or value.pop("version", None) != _VERSION:
        raise _damaged(path)
    names = set(Manifest.__dataclass_fields__)
    sound = set(value) <= names and "name" in value
    if not sound or not all(isinstance(value[n], kinds.get(n, str)) for n in value):
        raise _damaged(path)
    lists = {key: tuple(value.get(key, ())) for key in ("files", "fetched")}
    if not all(isinstance(file, str) for files in lists.values() for file in files):
        raise _damaged(path)
    return Manifest(**{**value, **lists})


def _not_writable(folder: Path, error: OSError) -> IngleError:
    rule = f"the models folder must be writable, but got {error.strerror or error}"
    return IngleError(str(folder), rule, "set INGLE_MODELS to another folder")


def _damaged(path: Path | None) -> FileFormatError:
    rule = f"manifest must be one that ingle wrote (version {_VERSION}), but got another"
    return FileFormatError(str(path), rule, "remove the file and pull or create the model again")
