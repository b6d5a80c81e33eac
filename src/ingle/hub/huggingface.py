"""Owns one pull from the model hub: choice, room, bytes, links, manifest.

Files stay in Hugging Face's cache, shared with other tools. It does not know how a byte travels.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from ingle import config, env
from ingle.errors import DownloadError, UnreachableError
from ingle.hub import cache, manifest, shelf
from ingle.hub.blob import Blob, Tally, fetch
from ingle.hub.choice import Choice, choose
from ingle.hub.lock import locked
from ingle.hub.progress import Progress, as_size, shown
from ingle.hub.reference import Reference
from ingle.hub.repository import HubFile, Repository, look_up
from ingle.hub.transfer import Remote

_SPARE_BYTES = 64 << 20  # left free on the disk
_LONG_BYTES = 1 << 28  # to verify, so that it is told


def pull(name: str, reference: Reference, told: Progress | None = None) -> Path:
    """Bring the newest of `reference` here under `name` and return the path to open.

    told: of the progress, in place of stderr. What is here already is not fetched again, whichever
    tool brought it. Two calls at once are safe. Raises IngleError of one rule and one remedy.
    """
    if config.get("offline"):
        raise UnreachableError(
            name,
            "pulling needs the network, but got the wish to stay offline",
            "unset HF_HUB_OFFLINE (or `offline` in ingle's config.toml)",
        )
    manifest.prepare()
    with shown(name, told) as progress:
        repository = look_up(reference.repo, progress.note)
        sizes = {path: file.num_bytes for path, file in repository.files.items()}
        choice = choose(sizes, reference.wish, reference.repo)
        packed = _packed(name, repository)
        if packed is not None:
            progress.note("ready")
            return packed
        fetched = _bring(name, repository, choice, progress)
        with manifest.changing():
            path = _place(name, repository, choice, fetched)
        progress.note("ready")
    return path


def _packed(name: str, repository: Repository) -> Path | None:
    """The packed copy that has taken the place of this very commit's files."""
    kept = manifest.read(name) if manifest.exists(name) else None
    if kept is None or not kept.path or Path(kept.path).exists():
        return None
    same = (kept.repo, kept.commit) == (repository.repo, repository.commit)
    return shelf.copy_of(Path(kept.path)) if same else None


def _bring(
    name: str, repository: Repository, choice: Choice, progress: Progress
) -> tuple[str, ...]:
    """Bring what is missing; the files that were."""
    files = [repository.files[path] for path in choice.files]
    missing = [file for file in files if not _pointer(repository, file).is_file()]
    _check(name, sum(_blob(repository, file).missing_bytes() for file in missing))
    if not missing:
        return ()
    total_bytes = sum(file.num_bytes for file in missing)
    whence = "" if name.startswith(repository.repo) else f"{repository.repo} "
    progress.stage(f"fetching {whence}{choice.label}", total_bytes)
    tally = Tally(progress)
    return tuple(file.path for file in missing if _bring_one(repository, file, tally, progress))


def _bring_one(repository: Repository, file: HubFile, tally: Tally, progress: Progress) -> bool:
    """Bring one file; whether its bytes had to be fetched, by this call."""
    blob, lock = _blob(repository, file), cache.lock_of(repository.repo, file.etag)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        blob.place.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock, lambda: progress.note("another pull fetches it; waiting")):
            absent = not blob.place.is_file()
            tally.add(file.num_bytes - blob.missing_bytes())
            if absent:
                fetch(blob, config.get("connections"), tally, lambda: _verifying(file, progress))
            cache.link(repository.repo, repository.commit, file.path, file.etag)
    except OSError as error:
        raise DownloadError(
            str(env.huggingface_cache()),
            f"Hugging Face's cache must be writable, but got {error.strerror or error}",
            "correct its permissions, or set HF_HUB_CACHE to another folder",
        ) from error
    return absent


def _verifying(file: HubFile, progress: Progress) -> None:
    if file.num_bytes >= _LONG_BYTES:
        progress.note(f"verifying {file.path}")


def _place(name: str, repository: Repository, choice: Choice, fetched: tuple[str, ...]) -> Path:
    """Write what tells later calls, and other tools, that the model is here.

    An older commit that ingle fetched under the same name is let go of.
    """
    repo, commit = repository.repo, repository.commit
    path = cache.folder_of(repo) / "snapshots" / commit / choice.entry
    earlier = manifest.read(name) if manifest.exists(name) else None
    ours = {file for kept in manifest.every() if kept.repo == repo for file in kept.fetched}
    cache.remember(repo, commit)
    manifest.write(
        manifest.Manifest(
            name=name,
            repo=repo,
            commit=commit,
            label=choice.label,
            files=choice.files,
            fetched=tuple(file for file in choice.files if file in ours or file in fetched),
            num_bytes=sum(repository.files[file].num_bytes for file in choice.files),
            path=str(path),
        )
    )
    if earlier and earlier.repo == repo and earlier.commit != commit:
        with contextlib.suppress(OSError):  # Windows keeps a file that somebody has open
            cache.discard(repo, earlier.commit, manifest.ours_alone(earlier))
    return path


def _pointer(repository: Repository, file: HubFile) -> Path:
    return cache.folder_of(repository.repo) / "snapshots" / repository.commit / file.path


def _blob(repository: Repository, file: HubFile) -> Blob:
    remote = Remote(
        f"{repository.repo}/{file.path}",
        repository.url_of(file),
        file.num_bytes,
        repository.token,
    )
    return Blob(remote, file.etag, cache.folder_of(repository.repo) / "blobs" / file.etag)


def _check(name: str, missing_bytes: int) -> None:
    """Before the first byte: is there room?"""
    folder = env.huggingface_cache()
    while not folder.exists():
        folder = folder.parent
    free_bytes = shutil.disk_usage(folder).free
    needed_bytes = missing_bytes + _SPARE_BYTES
    if missing_bytes and free_bytes < needed_bytes:
        raise DownloadError(
            name,
            f"a pull needs {as_size(needed_bytes)} free in {env.huggingface_cache()},"
            f" but got {as_size(free_bytes)}",
            "free some space, or set HF_HUB_CACHE to a folder on another disk",
        )
