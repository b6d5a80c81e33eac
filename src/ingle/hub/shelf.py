"""Owns where packed copies of models lie, and which file has one.

    <models>/.packed/<name>-<identity>.packed.safetensors   a copy
    <models>/.packed/<path's hash>.json                      which copy a path stands for

A copy is used while its source has the size and time it had, or is gone: the copy holds all of it.
It does not know how copies are made (`packing`) nor what is in them, so that it loads no numpy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ingle import config

_MAX_RECORD_BYTES = 1 << 16


@dataclass(frozen=True)
class Record:
    """A source as it was when its copy was made. file: the copy's name in the folder."""

    source: str
    num_bytes: int
    mtime_ns: int
    file: str


def copy_of(source: Path) -> Path | None:
    """The packed copy of the file at `source`, if there is one of its present content.

    A source that is gone is answered by the copy that was made of it.
    """
    record = _read(_record_path(source))
    if record is None:
        return None
    copy = folder() / record.file
    try:
        about = source.stat()
        same = (about.st_size, about.st_mtime_ns) == (record.num_bytes, record.mtime_ns)
    except FileNotFoundError:
        same = True
    except OSError:
        same = False
    return copy if same and copy.is_file() else None


def keep(source: Path, copy: str) -> None:
    """Note that the copy of that name in the folder is of `source` as it is now."""
    about = source.stat()
    record = Record(str(_absolute(source)), about.st_size, about.st_mtime_ns, copy)
    handle, staged = tempfile.mkstemp(dir=folder(), prefix=".new-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    Path(staged).replace(_record_path(source))


def discard(source: Path) -> int:
    """Forget the copy of `source`, and remove it unless another path needs it; bytes free again."""
    place = _record_path(source)
    record = _read(place)
    place.unlink(missing_ok=True)
    if record is None or any(other.file == record.file for other in records()):
        return 0
    copy = folder() / record.file
    num_bytes = copy.stat().st_size if copy.is_file() else 0
    copy.unlink(missing_ok=True)
    return num_bytes


def records() -> Iterator[Record]:
    """Of every copy, by the paths they stand for."""
    with contextlib.suppress(OSError):
        for path in sorted(folder().glob("*.json")):
            record = _read(path)
            if record is not None:
                yield record


def folder() -> Path:
    """Where copies lie, whether or not there are any."""
    return config.models_dir() / ".packed"


def _absolute(source: Path) -> Path:
    """Not resolved: a link keeps its meaning when what it leads to is gone."""
    return Path(os.path.abspath(source))  # noqa: PTH100  (Path.absolute keeps "..")


def key(source: Path) -> str:
    """A short name for a path."""
    return hashlib.sha256(os.fsencode(_absolute(source))).hexdigest()[:24]


def _record_path(source: Path) -> Path:
    return folder() / f"{key(source)}.json"


def _read(path: Path) -> Record | None:
    """A sound record; others count as none, and the copy is made anew."""
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_MAX_RECORD_BYTES))
        record = Record(**said)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    kinds = {"source": str, "num_bytes": int, "mtime_ns": int, "file": str}
    sound = all(isinstance(getattr(record, name), kind) for name, kind in kinds.items())
    return record if sound and _is_plain(record.file) else None


def _is_plain(file: str) -> bool:
    """Whether a name can only mean a copy in the folder."""
    return file.isprintable() and Path(file).name == file and file.endswith(".safetensors")
