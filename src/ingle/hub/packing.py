"""Owns making packed copies: of which models, under which lock, with how much room.

Where copies lie `shelf` knows; what is in them, `formats.packed`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from ingle import config
from ingle.errors import IngleError
from ingle.formats.detect import open_container
from ingle.formats.gguf import GgufFile
from ingle.formats.packed import PackedFile, pack
from ingle.formats.packed.layout import VERSION, tile_stride
from ingle.formats.packed.requantized import format_of
from ingle.hub import cache, manifest, registry, shelf
from ingle.hub.lock import locked
from ingle.hub.progress import as_size, shown

# Below this a model is repacked in memory within a second, at every start.
WORTH_BYTES = 1 << 30
SUFFIX = f".v{VERSION}.packed.safetensors"  # a copy in an older layout is not one
Wanted = tuple[str, str, str]  # formats of head, attention and the scan of the head; "": as it is
NOTHING: Wanted = ("", "", "")
_SPARE_BYTES = 1 << 30  # left free on the disk


def shelve(source: Path) -> Path | None:
    """Make the packed copy of a large GGUF file unless there is one; None where none is wanted.

    Progress goes to stderr; what was interrupted continues next time; one process writes at a time.
    A copy that cannot be made is told and is no failure: the model runs without.
    """
    present = _present(source)
    if present is not None or not _worth_packing(source):
        return present
    try:
        return _make(source)
    except IngleError as error:
        print(f"{error}\n(running {source.name} as it is)", file=sys.stderr)
        return None


def make(source: Path, head: str = "", attention: str = "", head_scan: str = "") -> Path:
    """The packed copy of a GGUF file of any size, a copy with others being replaced.

    head, attention, head_scan: as `formats.packed.pack` takes them. Raises IngleError.
    """
    wanted = (head, attention, head_scan)
    present = _present(source)
    if present is not None and (not source.exists() or _is_so(present, source, wanted)):
        return present
    if present is not None:
        shelf.discard(source)
    return _make(source, wanted)


def replace(name: str, source: Path) -> Path:
    """The packed copy of the model `name`, in place of the files that ingle itself fetched for it.

    Files that other tools brought, or that another name needs, stay. Raises IngleError.
    """
    if source.parent == shelf.folder():
        return source
    copy = make(source)
    kept = manifest.read(name) or manifest.read(registry.full_name(name))
    if kept is not None and Path(kept.path) == source:
        cache.discard(kept.repo, kept.commit, manifest.ours_alone(kept))
    return copy


def _present(source: Path) -> Path | None:
    """The copy of a source, in the present layout where it can still be made anew."""
    copy = shelf.copy_of(source)
    if copy is None or copy.name.endswith(SUFFIX) or not source.exists():
        return copy
    shelf.discard(source)
    return None


def _worth_packing(source: Path) -> bool:
    """Whether a file is one large GGUF whose weights kernels can read from the map."""
    if not source.is_file() or source.stat().st_size < WORTH_BYTES:
        return False
    model = open_container(source)
    if not isinstance(model, GgufFile) or isinstance(model, PackedFile) or len(model.files) > 1:
        return False
    tiled = sum(info.nbytes for info in model.tensors.values() if tile_stride(info))
    return tiled >= WORTH_BYTES


def _make(source: Path, wanted: Wanted = NOTHING) -> Path:
    """Pack under the lock; another process may have done so meanwhile."""
    lock = config.models_dir() / ".locks" / f"packed-{shelf.key(source)}"
    try:
        for parent in (shelf.folder(), lock.parent):
            parent.mkdir(parents=True, exist_ok=True)
        with locked(lock, lambda: _tell(source, "another ingle packs it; waiting")):
            return shelf.copy_of(source) or _packed(source, wanted)
    except OSError as error:
        rule = f"the models folder must be writable, but got {error.strerror or error}"
        raise IngleError(str(shelf.folder()), rule, "set INGLE_MODELS to another folder") from None


def _is_so(copy: Path, source: Path, wanted: Wanted) -> bool:
    return copy.name.endswith(_ending(source, wanted))


def _ending(source: Path, wanted: Wanted) -> str:
    """Of the copy's name: what it was made from, and how."""
    about = source.stat()
    facts = f"{source.resolve()} {about.st_size} {about.st_mtime_ns}"
    parts = zip(("head", "attention", "head-scan"), wanted, strict=True)
    said = "".join(f".{p}-{format_of(c, f'--{p}').lower()}" for p, c in parts if c)
    return f"-{hashlib.sha256(os.fsencode(facts)).hexdigest()[:12]}{said}{SUFFIX}"


def _packed(source: Path, wanted: Wanted) -> Path:
    about, ending = source.stat(), _ending(source, wanted)
    present = next(shelf.folder().glob(f"*{ending}"), None)  # made for another path to the file
    copy = present or shelf.folder() / f"{source.stem[:80]}{ending}"
    if present is None:
        begun = copy.with_name(f".{copy.name}.partial")
        _check_space(source, about.st_size, begun.stat().st_size if begun.is_file() else 0)
        _tell(source, f"packing once, so that it starts at once; about {as_size(about.st_size)}")
        with shown(source.name) as progress:
            progress.stage("packing", about.st_size)

            def tell(done: int, total: int) -> None:
                progress.at(done * about.st_size // total)

            head, attention, scan = wanted
            pack(source, copy, tell, head=head, attention=attention, head_scan=scan)
    shelf.keep(source, copy.name)
    return copy


def _check_space(source: Path, num_bytes: int, begun_bytes: int) -> None:
    free_bytes = shutil.disk_usage(shelf.folder()).free + begun_bytes
    if free_bytes < num_bytes + _SPARE_BYTES:
        rule = f"a packed copy needs {as_size(num_bytes + _SPARE_BYTES)} free in {shelf.folder()}"
        hint = "free some space, or set INGLE_MODELS to a folder on another disk"
        raise IngleError(source.name, f"{rule}, but got {as_size(free_bytes)}", hint)


def _tell(source: Path, text: str) -> None:
    print(f"{source.name}: {text}", file=sys.stderr, flush=True)
