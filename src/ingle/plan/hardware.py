"""Owns the machines that plans are made for: those of `hardware.toml`, and the one at hand.

It does not know models. Efficiencies are what published runs of gpt-oss reach of a machine's peak
(decode of bandwidth, prefill of arithmetic), by kind of machine; measurements replace them.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from ingle.errors import IngleError
from ingle.plan.kernels import Kernels

_GIB = 1 << 30
_DISK_BYTES_PER_S = 3e9  # a usual NVMe drive; the table has none of its own
HERE = "this machine"
HEADER_BYTES_PER_S, TOUCH_BYTES_PER_S = 200e6, 10e9  # where nobody has measured


@dataclass(frozen=True)
class Machine:
    """What speed and room follow from.

    memory_bytes: room for a model. read_bytes_per_s: peak of its memory; ops_per_s: peak of the
    arithmetic that a prompt runs in, two per multiply-add; disk_bytes_per_s: of loading.
    decode_efficiency, prefill_efficiency: share of those peaks that a run reaches.
    layer_overhead_s: of each layer of each step, whatever its size. chunk_tokens: of a prompt that
    run at once. kind: gpu, apple, cpu. source: of the figures. kernels: what was measured instead
    of peaks and their shares; the shares are then corrections. runtime_bytes: of the program before
    any model, 0 where that was not measured. header_bytes_per_s: of reading through a vocabulary;
    touch_bytes_per_s: of a file that is in memory, while its pages are mapped.
    """

    name: str
    kind: str
    memory_bytes: int
    read_bytes_per_s: float
    ops_per_s: float
    disk_bytes_per_s: float
    decode_efficiency: float
    prefill_efficiency: float
    layer_overhead_s: float
    chunk_tokens: int
    source: str
    kernels: Kernels | None = None
    runtime_bytes: int = 0
    header_bytes_per_s: float = HEADER_BYTES_PER_S
    touch_bytes_per_s: float = TOUCH_BYTES_PER_S

    @property
    def here(self) -> bool:
        """Whether it is the computer that this runs on."""
        return self.name == HERE

    @property
    def gpu(self) -> bool:
        """Whether models lie in it as stored, with bfloat16 keys and values."""
        return self.kind != "cpu"


@dataclass(frozen=True)
class Habits:
    """What runs reach on one kind of machine; see `Machine`."""

    decode_efficiency: float
    prefill_efficiency: float
    layer_overhead_s: float
    chunk_tokens: int
    usable_share: float  # of memory; a system and its screen take the rest
    arithmetic: str  # the figure of the table that prompts run in


# Decode: 57% of an RTX 4090 and 56% of an RTX PRO 6000 (gpt-oss-20b, llama.cpp), 62% of an M4,
# 80% of two channels of DDR4 (i7-11700K). Prefill: 37% of the same i7's 8-bit peak, 47% of an
# M1 Pro; cards reach little of theirs with 32 experts.
HABITS: Mapping[str, Habits] = {
    "gpu": Habits(0.60, 0.20, 15e-6, 2048, 1.0, "bf16_tflops"),
    "apple": Habits(0.60, 0.40, 100e-6, 512, 0.75, "bf16_tflops"),
    "cpu": Habits(0.78, 0.37, 20e-6, 512, 0.93, "int8_tops"),
}


@cache
def machines() -> Mapping[str, Machine]:
    """Every machine of the table by name, in its order."""
    text = resources.files("ingle.plan").joinpath("hardware.toml").read_text(encoding="utf-8")
    found = (_machine(entry) for entry in tomllib.loads(text)["machine"])
    return {machine.name: machine for machine in found}


def _machine(entry: Mapping[str, str | float]) -> Machine:
    kind = str(entry["kind"])
    habits = HABITS[kind]
    return Machine(
        name=str(entry["name"]),
        kind=kind,
        memory_bytes=round(float(entry["memory_gib"]) * _GIB * habits.usable_share),
        read_bytes_per_s=float(entry["bandwidth_gb_per_s"]) * 1e9,
        ops_per_s=float(entry[habits.arithmetic]) * 1e12,
        disk_bytes_per_s=_DISK_BYTES_PER_S,
        decode_efficiency=habits.decode_efficiency,
        prefill_efficiency=habits.prefill_efficiency,
        layer_overhead_s=habits.layer_overhead_s,
        chunk_tokens=habits.chunk_tokens,
        source=f"{entry['source']}; seen: {entry['checked']}",
    )


def find(name: str) -> Machine:
    """The machine of that name, letter case, blanks and makers aside. IngleError names others."""
    wanted = _folded(name)
    by_folded = {_folded(known): machine for known, machine in machines().items()}
    if wanted in by_folded:
        return by_folded[wanted]
    close = [by_folded[n].name for n in difflib.get_close_matches(wanted, by_folded, 4, 0.5)]
    rule = f"machine must be one of the hardware table, but got {name!a:.60}"
    hint = f"did you mean {', '.join(close)}?" if close else "--vram 16GiB names the room alone"
    raise IngleError("--gpu", rule, hint)


def of_size(memory_bytes: int) -> Machine:
    """A GPU of which only the memory is known: as slow as the slowest of the table that has it."""
    gpus = [machine for machine in machines().values() if machine.kind == "gpu"]
    holding = [gpu for gpu in gpus if gpu.memory_bytes >= memory_bytes] or [
        max(gpus, key=lambda gpu: gpu.memory_bytes)
    ]
    like = min(holding, key=lambda gpu: gpu.read_bytes_per_s)
    name = f"a GPU with {memory_bytes / _GIB:.4g} GiB"
    source = f"speed of {like.name}, the slowest that has as much"
    return replace(like, name=name, memory_bytes=memory_bytes, source=source)


def _folded(name: str) -> str:
    letters = "".join(c for c in name.lower() if c.isalnum() or c == "+")
    for word in ("nvidia", "geforce", "radeon", "apple", "amd", "intel"):
        letters = letters.replace(word, "")
    return letters.removesuffix("sxm").removeprefix("instinct")
