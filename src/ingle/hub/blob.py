"""Owns fetching one blob into Hugging Face's cache: by parts at once, resumable, verified.

Hugging Face's own client drops what it has when it is stopped, and does not compare checksums of
plain downloads; for files of many gigabytes both matter. Parts that are done stand in a journal
beside the partial file, so that a killed pull goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ingle.errors import DownloadError
from ingle.hub.progress import Progress, as_size
from ingle.hub.transfer import TRIES, NoRangesError, Remote, StoppedError, fetch_range

PART_BYTES = 32 << 20
_READ_BYTES = 1 << 20
_LARGEST_WHOLE_BYTES = 50_000_000_000  # the hub sends larger files by ranges alone


class Tally:
    """Counts the bytes that several threads bring, and tells the progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock, self._done = progress, threading.Lock(), 0

    def add(self, num_bytes: int) -> None:
        """`num_bytes` more are done; fewer, if negative."""
        with self._lock:
            self._done += num_bytes
            self._progress.at(self._done)


@dataclass(frozen=True)
class Blob:
    """One file to fetch: where from, its id (SHA-256, or git's SHA-1 of a small file), where to."""

    remote: Remote
    etag: str
    place: Path

    @property
    def partial(self) -> Path:
        return self.place.with_name(f"{self.etag}.ingle.incomplete")

    @property
    def journal(self) -> Path:
        return self.place.with_name(f"{self.etag}.ingle.parts")

    @property
    def num_parts(self) -> int:
        return max(1, -(-self.remote.num_bytes // PART_BYTES))

    def span(self, part: int) -> tuple[int, int]:
        """First byte and end of a part."""
        return part * PART_BYTES, min((part + 1) * PART_BYTES, self.remote.num_bytes)

    def parts_done(self) -> set[int]:
        """Parts of an earlier attempt that need not be fetched again."""
        try:
            head, *lines = self.journal.read_text(encoding="ascii").split("\n")
            if head != self.first_line or not self.partial.is_file():
                return set()
            whole = lines[:-1]  # what follows the last line end was cut
            return {int(line) for line in whole if 0 <= int(line) < self.num_parts}
        except (OSError, ValueError):
            return set()

    @property
    def first_line(self) -> str:
        return f"ingle-parts 1 {self.remote.num_bytes} {PART_BYTES}"

    def missing_bytes(self) -> int:
        """Bytes that are still to come; 0 if the blob is here."""
        if self.place.is_file():
            return 0
        done = sum(end - first for first, end in map(self.span, self.parts_done()))
        return self.remote.num_bytes - done


def fetch(blob: Blob, connections: int, tally: Tally, verifying: Callable[[], None]) -> None:
    """Bring the blob to its place. The caller holds its lock and has checked the disk.

    verifying: called when all bytes are here. Raises DownloadError; an interrupted download leaves
    its parts, a wrong one nothing.
    """
    done = blob.parts_done()
    try:
        with blob.partial.open("r+b" if done else "w+b") as file:
            with blob.journal.open("w", encoding="ascii") as journal:
                print(blob.first_line, *sorted(done), sep="\n", file=journal, flush=True)
                _Job(blob, file.fileno(), journal.fileno(), tally).run(done, connections)
            os.fsync(file.fileno())
            verifying()
            _verify(blob)
        blob.partial.replace(blob.place)
        blob.journal.unlink(missing_ok=True)
    except OSError as error:
        raise _disk(blob, error) from error


class _Job:
    """The threads of one download. `counted` is what the tally knows of this blob."""

    def __init__(self, blob: Blob, file: int, journal: int, tally: Tally) -> None:
        self._blob, self._file, self._journal, self._tally = blob, file, journal, tally
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._counted = 0

    def run(self, done: set[int], connections: int) -> None:
        waiting = [part for part in range(self._blob.num_parts) if part not in done]
        self._counted = sum(end - first for first, end in map(self._blob.span, done))
        try:
            for part in waiting[:1]:
                self._fetch(part)  # alone: it shows whether the server knows ranges
            self._fetch_all(waiting[1:], connections)
        except NoRangesError:
            self._whole()

    def _fetch_all(self, parts: list[int], connections: int) -> None:
        with ThreadPoolExecutor(min(connections, max(1, len(parts)))) as pool:
            try:
                for future in [pool.submit(self._fetch, part) for part in parts]:
                    future.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _fetch(self, part: int) -> None:
        first, end = self._blob.span(part)
        try:
            fetch_range(self._blob.remote, first, end, self._take, self._stop)
        except StoppedError:
            return
        except BaseException:
            self._stop.set()
            raise
        with self._lock:
            os.write(self._journal, f"{part}\n".encode())

    def _whole(self) -> None:
        """From a server that knows no ranges: all of it, in one stream; a cut starts over."""
        self._stop.clear()
        whole = self._blob.remote
        if whole.num_bytes > _LARGEST_WHOLE_BYTES:
            rule = f"a file of {as_size(whole.num_bytes)} must be sent by ranges, but got all of it"
            hint = "fetch it with `hf download`; ingle finds it in the cache"
            raise DownloadError(whole.name, rule, hint)
        for _ in range(TRIES):
            self._tally.add(-self._counted)
            self._counted = 0
            try:
                fetch_range(whole, 0, whole.num_bytes, self._take, self._stop)
                return
            except NoRangesError:  # what asking for the rest got
                continue
        rule = "the server must send the file in one piece or by ranges, but got neither"
        raise DownloadError(whole.name, rule, "pull again")

    def _take(self, at: int, chunk: bytes) -> None:
        rest = memoryview(chunk)
        try:
            while rest:
                written = _write_at(self._file, rest, at)
                rest, at = rest[written:], at + written
        except OSError as error:
            raise _disk(self._blob, error) from error
        with self._lock:
            self._counted += len(chunk)
        self._tally.add(len(chunk))


def _write_at(file: int, data: memoryview, at: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(file, data, at)
    with _SEEKING:  # Windows
        os.lseek(file, at, os.SEEK_SET)
        return os.write(file, data)


_SEEKING = threading.Lock()


def _verify(blob: Blob) -> None:
    """Size and checksum must be the published ones; what differs is removed."""
    remote, sha256 = blob.remote, len(blob.etag) == 64
    digest = hashlib.sha256() if sha256 else hashlib.sha1(usedforsecurity=False)
    if not sha256:
        digest.update(b"blob %d\0" % remote.num_bytes)  # how git names a file
    with blob.partial.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != blob.etag:
        blob.partial.unlink(missing_ok=True)
        blob.journal.unlink(missing_ok=True)
        kind = "SHA-256" if sha256 else "git id"
        rule = f"the file must have {kind} {blob.etag}, but got {digest.hexdigest()}"
        raise DownloadError(remote.name, rule, "what arrived was removed; pull again")


def _disk(blob: Blob, error: OSError) -> DownloadError:
    rule = f"the download must be written to disk, but got {error.strerror or error}"
    return DownloadError(
        blob.remote.name, rule, "make room; the same command goes on where it stopped"
    )
