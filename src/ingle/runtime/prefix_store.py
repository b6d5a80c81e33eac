"""Owns prefixes on disk, across restarts: which pages lie in a folder, which go when it is full.

A page is named by a digest of the model, of everything before it and of its own tokens, so that it
is found by what a prompt says. Pages are written by a thread of their own; one that is damaged or
cannot be written is dropped, and the log says so. It does not know requests.
"""

from __future__ import annotations

import logging
import os
import queue
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from threading import Lock, Thread

from ingle import _native
from ingle.errors import FileFormatError, IngleError
from ingle.ops import PAGE_TOKENS
from ingle.runtime.pages import PagePool, visible_pages
from ingle.runtime.prefix import NO_PAGE, Node, PrefixIndex
from ingle.runtime.prefix_file import Arrays, PageHeader, read_header, read_page, write_page

_SUFFIX = ".kv"
_AHEAD = 4  # pages copied out and not written yet
_log = logging.getLogger("ingle.prefixes")


@dataclass
class Entry:
    """A page on disk. used: counts up with every use."""

    digest: str
    header: PageHeader
    nbytes: int
    used: int


class PrefixStore:
    """Pages of one model in `folder`, at most `limit_bytes` of them.

    model: tells apart all that leads to other numbers (weights, settings). Raises IngleError for a
    folder that cannot be had.
    """

    def __init__(self, folder: Path, limit_bytes: int, model: str) -> None:
        self.folder, self.limit_bytes, self.model = folder / model, limit_bytes, model
        self._entries: dict[str, Entry] = {}
        self._tails: dict[str, set[str]] = {}  # short pages by what they continue
        self._lock = Lock()  # around the two
        self._clock = 0
        self.failed = False
        self._jobs: queue.Queue[tuple[PageHeader, str, list[Arrays]] | None] = queue.Queue(_AHEAD)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._scan()
        except OSError as error:
            rule = f"the folder must be writable, but got {error.strerror or error}"
            raise IngleError(str(self.folder), rule, "choose another --cache-dir") from None
        self._writer = Thread(target=self._write, name="ingle-prefixes", daemon=True)
        self._writer.start()

    @property
    def nbytes(self) -> int:
        """Bytes of all pages."""
        with self._lock:
            return sum(entry.nbytes for entry in self._entries.values())

    def restore(
        self, pool: PagePool, index: PrefixIndex, kind: Hashable, ids: Sequence[int]
    ) -> None:
        """Bring what is on disk of the prefix `ids` into the index, if it reaches farther."""
        at_hand = index.reach(kind, ids)
        path = list(self._path(kind, ids))
        windows = [group.window for group in pool.store.layout.groups]
        position = _resumable(path, windows, ids)
        if position <= at_hand:
            return
        path = path[: -(-position // PAGE_TOKENS)]
        wanted = {
            (g, i) for g, w in enumerate(windows) if w for i in range(*visible_pages(w, position))
        }
        loaded: dict[int, dict[int, Arrays]] = {}

        def load(place: int, group: int) -> int | None:
            if place not in loaded:
                loaded.clear()
                loaded[place] = self._read(path[place], pool)
            arrays = loaded[place].get(group)
            page = None if arrays is None else pool.take(group)
            if arrays is not None and page is not None:
                pool.store.keys[group][:, page], pool.store.values[group][:, page] = arrays
            return page

        index.grow(kind, [entry.header.tokens for entry in path], wanted, load)

    def save(self, pool: PagePool, node: Node, kind: Hashable) -> bool:
        """Has a node written; False if the writer is busy and it must be asked for again."""
        if self.failed or self._jobs.full():
            return self.failed
        groups = tuple(g for g, page in enumerate(node.pages) if page != NO_PAGE)
        parent = self._digest_of(kind, node.parent)
        header = PageHeader(self.model, pool.store.kv_type, parent, node.tokens, groups)
        digest = _digest(header.parent, node.tokens)
        with self._lock:
            known = self._entries.get(digest)
        if known is None or not set(groups) <= set(known.header.groups):
            store = pool.store
            copies = [
                (store.keys[g][:, node.pages[g]].copy(), store.values[g][:, node.pages[g]].copy())
                for g in groups
            ]
            self._jobs.put((header, digest, copies))
        return True

    def close(self) -> None:
        """Waits until everything is written."""
        self._jobs.put(None)
        self._writer.join()

    def _path(self, kind: Hashable, ids: Sequence[int]) -> Iterator[Entry]:
        """Pages along `ids`; the last may be short, or agree in part."""
        parent = self._root(kind)
        for start in range(0, len(ids), PAGE_TOKENS):
            tokens = tuple(ids[start : start + PAGE_TOKENS])
            with self._lock:
                entry = self._entries.get(_digest(parent, tokens))
                if entry is None:
                    entry = self._tail(parent, tokens)
                if entry is None:
                    return
                self._clock += 1
                entry.used = self._clock
            yield entry
            if len(entry.header.tokens) < PAGE_TOKENS:
                return
            parent = entry.digest

    def _tail(self, parent: str, tokens: tuple[int, ...]) -> Entry | None:
        """The longest short page that `tokens` begin with."""
        tails = [self._entries[digest] for digest in self._tails.get(parent, ())]
        said = [e for e in tails if e.header.tokens == tokens[: len(e.header.tokens)]]
        return max(said, key=lambda entry: len(entry.header.tokens), default=None)

    def _read(self, entry: Entry, pool: PagePool) -> dict[int, Arrays]:
        groups = pool.store.layout.groups
        try:
            shapes = [
                (len(groups[g].layers), groups[g].num_key_value_heads, groups[g].head_dim)
                for g in entry.header.groups
            ]
            expected = replace(entry.header, kv_type=pool.store.kv_type)
            found = read_page(self._file(entry.digest), expected, shapes)
        except (OSError, FileFormatError, IndexError) as error:
            _log.warning("a prefix on disk was dropped: %s", " ".join(str(error).split()))
            self._drop(entry)
            return {}
        return dict(zip(entry.header.groups, found, strict=True))

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            header, digest, arrays = job
            try:
                nbytes = write_page(self._file(digest), header, arrays)
            except OSError as error:
                _log.warning("prefixes are no longer kept on disk: %s", error)
                self.failed = True
                continue
            with self._lock:
                self._clock += 1
                self._note(Entry(digest, header, nbytes, self._clock))
            self._make_room()

    def _make_room(self) -> None:
        """Drops what was used longest ago; of one prompt, its end before its beginning."""
        while self.nbytes > self.limit_bytes:
            with self._lock:
                oldest = min(self._entries.values(), key=lambda entry: entry.used)
                chain = [oldest]
                while True:  # what continues it cannot be reached without it
                    longer = [
                        e for e in self._entries.values() if e.header.parent == chain[-1].digest
                    ]
                    if not longer:
                        break
                    chain.append(min(longer, key=lambda entry: entry.used))
            self._drop(chain[-1])

    def _scan(self) -> None:
        files = [path for path in self.folder.iterdir() if path.is_file()]
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
            if path.suffix == ".tmp":
                _log.warning("a prefix that was not written to its end was cleared away")
                path.unlink(missing_ok=True)
            if path.suffix != _SUFFIX:
                continue
            try:
                header = read_header(path)
                if header.model != self.model or _digest(header.parent, header.tokens) != path.stem:
                    raise FileFormatError(str(path), "a prefix must be named after itself")
            except (FileFormatError, OSError) as error:
                _log.warning("a prefix on disk was dropped: %s", " ".join(str(error).split()))
                path.unlink(missing_ok=True)
                continue
            self._clock += 1
            self._note(Entry(path.stem, header, path.stat().st_size, self._clock))

    def _note(self, entry: Entry) -> None:
        self._entries[entry.digest] = entry
        if len(entry.header.tokens) < PAGE_TOKENS:
            self._tails.setdefault(entry.header.parent, set()).add(entry.digest)

    def _drop(self, entry: Entry) -> None:
        with self._lock:
            self._entries.pop(entry.digest, None)
            self._tails.get(entry.header.parent, set()).discard(entry.digest)
        try:
            self._file(entry.digest).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("a prefix on disk cannot be removed: %s", error)

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest}{_SUFFIX}"

    def _root(self, kind: Hashable) -> str:
        return _digest(f"{self.model} {kind!r}", ())

    def _digest_of(self, kind: Hashable, node: Node | None) -> str:
        """Of a node of the index, from all that stands before it."""
        chain: list[Node] = []
        while node is not None and node.parent is not None:
            chain.append(node)
            node = node.parent
        digest = self._root(kind)
        for one in reversed(chain):
            digest = _digest(digest, one.tokens)
        return digest


def fingerprint(paths: Sequence[Path], settings: object) -> str:
    """Names a model by its files' sizes, times and ends, by `settings` and by these kernels."""
    found = blake2b(repr(settings).encode(), digest_size=16)
    for path in [*paths, Path(_native.__file__)]:
        about = path.stat()
        found.update(f"{about.st_size} {about.st_mtime_ns}".encode())
        with path.open("rb") as file:
            found.update(file.read(1 << 20))
            file.seek(max(0, about.st_size - (1 << 20)), os.SEEK_SET)
            found.update(file.read(1 << 20))
    return found.hexdigest()


def _digest(parent: str, tokens: Sequence[int]) -> str:
    said = parent.encode() + b"".join(token.to_bytes(4, "little") for token in tokens)
    return blake2b(said, digest_size=16).hexdigest()


def _resumable(path: Sequence[Entry], windows: Sequence[int], ids: Sequence[int]) -> int:
    """The farthest place in a path whose windows are all on disk."""
    position = min(len(ids), sum(len(entry.header.tokens) for entry in path))
    while position:
        missing = [
            index
            for g, window in enumerate(windows)
            if window
            for index in range(*visible_pages(window, position))
            if g not in path[index].header.groups
        ]
        if not missing:
            break
        position = max(missing) * PAGE_TOKENS
    return position
