"""Owns the models folder: which file lies where, staging, locks, the last rename.

    <models>/<name>/<file>       a finished model, whole and verified
    <models>/.staging/<name>/*/  what a pull is working on; the same disk, so a rename moves it
    <models>/.locks/<name>       held by whoever changes the model

It does not know where the bytes come from.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ingle import config
from ingle.errors import DownloadError
from ingle.hub.lock import locked
from ingle.hub.progress import as_size
from ingle.hub.registry import Entry

_SPARE_BYTES = 64 << 20  # left free on the disk, so that a pull does not fill it to the brim


def path_of(entry: Entry) -> Path:
    """Where the model's file lies, or would lie."""
    return config.models_dir() / entry.folder_name / entry.file_name


def installed(entry: Entry) -> Path | None:
    """The model's file if it is here; a file of another size is damaged and does not count."""
    path = path_of(entry)
    try:
        whole = path.is_file() and path.stat().st_size == entry.file_bytes
    except OSError:
        return None
    return path if whole else None


@contextmanager
def changing(entry: Entry, on_wait: Callable[[], None]) -> Iterator[None]:
    """Be the only process that changes the model `entry`."""
    with _writable(config.models_dir()):
        locks = config.models_dir() / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
    with locked(locks / entry.folder_name, on_wait):
        yield


@contextmanager
def staging(entry: Entry) -> Iterator[Path]:
    """An empty folder to work in, gone afterwards. Call it under `changing`.

    What a killed pull left is swept first; the folder's name is new each time, because a download
    that outlived its ingle may still be writing to the old one.
    """
    parent = config.models_dir() / ".staging" / entry.folder_name
    shutil.rmtree(parent, ignore_errors=True)
    with _writable(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def check_space(entry: Entry) -> None:
    """Raise DownloadError unless the disk has room for the work and its result."""
    needed_bytes = entry.source.staging_bytes + entry.file_bytes + _SPARE_BYTES
    free_bytes = shutil.disk_usage(config.models_dir()).free
    if free_bytes < needed_bytes:
        raise DownloadError(
            entry.name,
            f"a pull needs {as_size(needed_bytes)} free in {config.models_dir()},"
            f" but got {as_size(free_bytes)}",
            "free some space, or set INGLE_MODELS to a folder on another disk",
        )


def place(staged: Path, entry: Entry) -> Path:
    """Move a verified file that is already synced to its final place."""
    path = path_of(entry)
    with _writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(path)
    _sync_folder(path.parent)
    return path


def discard(entry: Entry) -> None:
    """Remove the model's file and its folder. Call it under `changing`."""
    path = path_of(entry)
    with _writable(path.parent):
        path.unlink(missing_ok=True)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(
            str(folder),
            f"the models folder must be writable, but got {error.strerror or error}",
            "correct its permissions, or set INGLE_MODELS to another folder",
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename durable where the system can sync folders (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
