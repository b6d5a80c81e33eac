"""Owns one pull from start to end: room, bytes, size, checksum, place.

It does not know where the bytes come from (a Source does), nor how waiting looks.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from ingle.errors import DownloadError
from ingle.hub import store
from ingle.hub.progress import Progress, as_size, shown
from ingle.hub.registry import Entry

_CHUNK_BYTES = 1 << 20


def fetch(entry: Entry, told: Progress | None = None) -> Path:
    """Bring the model `entry` here, unless it is here already, and return its path.

    told: of the progress, in place of stderr. Two calls at once, in one process or two, are safe:
    the second waits and finds the file.
    Raises DownloadError; nothing half-done is left behind.
    """
    with shown(entry.name, told) as progress:

        def on_wait() -> None:
            progress.note("another ingle is changing this model; waiting for it")

        with store.changing(entry, on_wait):
            present = store.installed(entry)
            if present is not None:
                return present
            store.check_space(entry)
            with store.staging(entry) as staging:
                return _fetch_into(staging, entry, progress)


def _fetch_into(staging: Path, entry: Entry, progress: Progress) -> Path:
    staged = staging / entry.file_name
    try:
        with entry.source.open(staging, progress) as stream:
            progress.stage("unpacking and verifying", entry.file_bytes)
            _copy_verified(stream, staged, entry, progress)
    except OSError as error:
        rule = f"the download must be written to disk, but got {error.strerror or error}"
        raise DownloadError(entry.name, rule, "see that the disk has room, then retry") from error
    path = store.place(staged, entry)
    progress.note("ready")
    return path


def _copy_verified(stream: BinaryIO, staged: Path, entry: Entry, progress: Progress) -> None:
    """Copy `stream` to `staged` and sync it; size and SHA-256 must be the entry's."""
    digest, done_bytes = hashlib.sha256(), 0
    with staged.open("xb") as output:
        while chunk := stream.read(_CHUNK_BYTES):
            done_bytes += len(chunk)
            if done_bytes > entry.file_bytes:
                break  # a file without end shall not fill the disk
            digest.update(chunk)
            output.write(chunk)
            progress.at(done_bytes)
        output.flush()
        os.fsync(output.fileno())
    if done_bytes != entry.file_bytes:
        got = f"more than {as_size(entry.file_bytes)}"
        got = got if done_bytes > entry.file_bytes else f"{done_bytes} bytes"
        raise _wrong(entry, f"{entry.file_name} must have {entry.file_bytes} bytes, but got {got}")
    if digest.hexdigest() != entry.sha256:
        rule = f"{entry.file_name} must have SHA-256 {entry.sha256}"
        raise _wrong(entry, f"{rule}, but got {digest.hexdigest()}")


def _wrong(entry: Entry, rule: str) -> DownloadError:
    return DownloadError(
        entry.name, rule, f"the source serves another file than the known {entry.source.label}"
    )
