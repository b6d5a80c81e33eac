"""Owns what the processor is, for people: name, cores, caches, instruction sets.

What nobody can tell is left empty. Nothing is chosen by these: kernels ask the processor itself.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from ingle import _native

# Those that matter to ingle or that people ask about, as Linux spells them.
_TOLD = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl"),
    *("avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
_KINDS = {"Data": "d", "Instruction": "i", "Unified": ""}


@dataclass(frozen=True)
class Cache:
    """One cache as a core sees it; num: how many of them the machine has."""

    name: str  # L1d, L2
    nbytes: int
    num: int


@dataclass(frozen=True)
class Processor:
    """name: as its maker calls it. instruction_sets: of those ingle could use."""

    name: str
    num_cores: int
    caches: tuple[Cache, ...]
    instruction_sets: tuple[str, ...]


def this_processor(root: Path = Path("/")) -> Processor:
    """The processor at hand. root: where `proc` and `sys` lie."""
    info = _text(root / "proc/cpuinfo")
    name = _field(info, "model name") or platform.processor() or platform.machine()
    flags = set((_field(info, "flags") or _field(info, "Features")).split())
    return Processor(
        name=name,
        num_cores=os.cpu_count() or 1,
        caches=_caches(root / "sys/devices/system/cpu"),
        instruction_sets=tuple(flag for flag in _TOLD if flag in flags),
    )


def kernel_choices() -> list[tuple[str, bool, str]]:
    """Every set of kernels: its name, whether it runs here, what it needs; best first."""
    return list(_native.instruction_sets())


def _caches(folder: Path) -> tuple[Cache, ...]:
    """Of every core, counted once for all cores that share it."""
    seen: dict[tuple[str, str], int] = {}
    for index in sorted(folder.glob("cpu[0-9]*/cache/index[0-9]*")):
        kind = _KINDS.get(_text(index / "type").strip())
        size = re.fullmatch(r"(\d+)([KM])", _text(index / "size").strip())
        if kind is None or size is None:
            continue
        name = f"L{_text(index / 'level').strip()}{kind}"
        shared = _text(index / "shared_cpu_list").strip()
        seen[name, shared] = int(size[1]) << (10 if size[2] == "K" else 20)
    found: dict[str, Cache] = {}
    for (name, _), nbytes in sorted(seen.items()):
        before = found.get(name)
        found[name] = Cache(name, nbytes, before.num + 1 if before else 1)
    return tuple(found.values())


def _field(info: str, name: str) -> str:
    match = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", info, re.MULTILINE)
    return match[1].strip() if match else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
