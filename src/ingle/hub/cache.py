"""Owns the layout of Hugging Face's cache, which ingle shares with every tool that uses it.

    models--<user>--<repo>/refs/main                    the commit last seen
    models--<user>--<repo>/snapshots/<commit>/<file>    a link to
    models--<user>--<repo>/blobs/<etag>                 the bytes; etag is a SHA-256 or a git id

It does not know the network, nor which files a person wants.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ingle import env
from ingle.errors import IngleError
from ingle.hub.choice import Choice, choose
from ingle.hub.reference import Reference

_PREFIX = "models--"


def folder_of(repo: str) -> Path:
    """The repository's folder, whether or not it exists."""
    return env.huggingface_cache() / (_PREFIX + repo.replace("/", "--"))


def lock_of(repo: str, etag: str) -> Path:
    """The lock file that Hugging Face's own tools hold while they fetch the same blob."""
    return env.huggingface_cache() / ".locks" / folder_of(repo).name / f"{etag}.lock"


def find(reference: Reference) -> tuple[Path, Choice, int] | None:
    """What `reference` means among the files here: path to open, choice, bytes; None if absent.

    The newest snapshot that holds it whole is taken.
    """
    for snapshot in _snapshots(reference.repo):
        sizes = files_below(snapshot)
        try:
            choice = choose(sizes, reference.wish, str(reference))
        except IngleError:
            continue
        if choice.entry or _is_whole(snapshot, choice):
            return snapshot / choice.entry, choice, sum(sizes[file] for file in choice.files)
    return None


def repositories() -> Iterator[str]:
    """Every model repository that the cache has a folder for, as ``user/repo``."""
    root = env.huggingface_cache()
    with contextlib.suppress(OSError):
        for folder in sorted(root.glob(_PREFIX + "*--*")):
            yield folder.name.removeprefix(_PREFIX).replace("--", "/", 1)


def files_below(folder: Path) -> dict[str, int]:
    """Files below `folder` with their bytes, as ``a/b`` paths; dead links do not count."""
    sizes: dict[str, int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    return sizes


def link(repo: str, commit: str, file: str, etag: str) -> Path:
    """Give the blob `etag` its name in the snapshot `commit`; where links fail it moves there."""
    blob = folder_of(repo) / "blobs" / etag
    pointer = folder_of(repo) / "snapshots" / commit / file
    pointer.parent.mkdir(parents=True, exist_ok=True)
    if pointer.exists():
        return pointer
    pointer.unlink(missing_ok=True)  # a dead link
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except FileExistsError:  # another pull was faster
        pass
    except OSError:  # Windows, without the right to link
        blob.replace(pointer)
    return pointer


def remember(repo: str, commit: str) -> None:
    """Note `commit` as the newest that was seen, for tools that work offline."""
    ref = folder_of(repo) / "refs" / "main"
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit, encoding="utf-8")


def discard(repo: str, commit: str, files: tuple[str, ...]) -> int:
    """Remove files of a snapshot, and blobs that no other name needs; bytes free again."""
    folder, freed_bytes = folder_of(repo), 0
    for file in files:
        pointer = folder / "snapshots" / commit / file
        blob = pointer.resolve()
        num_bytes = blob.stat().st_size if blob.is_file() else 0
        linked = pointer.is_symlink()
        pointer.unlink(missing_ok=True)
        if linked and not any(other.resolve() == blob for other in _links(folder)):
            blob.unlink(missing_ok=True)
            freed_bytes += num_bytes
        elif not linked:
            freed_bytes += num_bytes
    _prune(folder)
    return freed_bytes


def _snapshots(repo: str) -> list[Path]:
    """Snapshots that are here: the one of refs/main first, then the newest."""
    folder = folder_of(repo)
    try:
        found = [path for path in (folder / "snapshots").iterdir() if path.is_dir()]
        found.sort(key=lambda path: -path.stat().st_mtime)
    except OSError:
        return []
    main = ""
    with contextlib.suppress(OSError, ValueError):
        main = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    return sorted(found, key=lambda path: path.name != main)


def _is_whole(snapshot: Path, choice: Choice) -> bool:
    """Whether a safetensors folder has its config and every shard that its index names."""
    if "config.json" not in choice.files:
        return False
    needed: set[str] = set()
    for index in (file for file in choice.files if file.endswith(".index.json")):
        try:
            needed |= set(json.loads((snapshot / index).read_bytes())["weight_map"].values())
        except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
            return False
    if not needed:
        return any(file.endswith(".safetensors") for file in choice.files)
    return needed <= set(choice.files)


def _links(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder / "snapshots"):
        for name in names:
            path = Path(parent, name)
            if path.is_symlink():
                yield path


def _prune(folder: Path) -> None:
    """Remove snapshot folders that are empty, and the whole repository if nothing is left."""
    for parent, _, _ in os.walk(folder / "snapshots", topdown=False):
        with contextlib.suppress(OSError):  # not empty
            Path(parent).rmdir()
    if (folder / "snapshots").exists():
        return
    for path in (folder / "blobs", folder / "refs" / "main", folder / "refs", folder):
        with contextlib.suppress(OSError):
            path.unlink() if path.is_file() else path.rmdir()
