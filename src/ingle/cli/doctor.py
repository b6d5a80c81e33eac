"""``ingle doctor``: owns the report on this machine, one line for each thing that matters.

What it measures on request is kept in ingle's folder, where plans read it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ingle import __version__, config, env, hub
from ingle.backends.cpu import CpuBackend, measure
from ingle.backends.cpu.backend import choose_kernels
from ingle.backends.cpu.cores import cpu_quota, usable_cores
from ingle.backends.cpu.processor import kernel_choices, this_processor
from ingle.cli.layout import pairs, width_of_stdout
from ingle.errors import IngleError
from ingle.hub.progress import as_size
from ingle.plan.kernels import as_object
from ingle.plan.limits import memory_limit
from ingle.plan.probe import measure_usual
from ingle.plan.rates import Rates, add_rates, read_rates

_GIB = 1 << 30
_ENOUGH_BYTES = 8 * _GIB  # for gpt-oss-20b, the smallest of its kind
_ROOM_BYTES = 16_000_000_000  # for its file


@dataclass(frozen=True)
class Finding:
    """One line of the report; state: "ok", "note" or "lack"."""

    subject: str
    text: str
    state: str = "ok"


def doctor(measuring: bool, as_json: bool) -> None:
    """Print the report; `measuring` first measures and stores what plans start from."""
    rates = _measure() if measuring else None
    findings = list(_findings())
    if as_json:
        report = {"findings": [asdict(one) for one in findings], "rates": rates}
        print(json.dumps(report))
        return
    marks = {"ok": "  ", "note": "- ", "lack": "! "}
    rows = [(marks[one.state] + one.subject, one.text) for one in findings]
    print(*pairs(rows, width_of_stdout(), lead=2), sep="\n")


def _findings() -> Iterator[Finding]:
    processor = this_processor()
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    yield Finding("ingle", f"{__version__}, {system}")
    yield Finding("processor", processor.name)
    yield _cores(processor.num_cores)
    caches = (f"{c.num} x {c.name} {c.nbytes >> 10:,} KiB" for c in processor.caches)
    yield _told("caches", ", ".join(caches))
    yield _told("instruction sets", " ".join(processor.instruction_sets))
    yield from _kernels()
    yield from _memory()
    yield from _folders()
    yield from _sources()
    yield _rates(read_rates(env.home_dir()))
    yield from _lacks()


def _told(subject: str, text: str) -> Finding:
    return Finding(subject, text) if text else Finding(subject, "the system does not say", "note")


def _cores(num_cores: int) -> Finding:
    usable, quota = usable_cores(), cpu_quota()
    limit = "no limit of a control group" if quota is None else f"control group: {quota:g} CPUs"
    text = f"{num_cores}, of which {usable} usable; {limit}"
    return Finding("cores", text, "ok" if usable == num_cores else "note")


def _kernels() -> Iterator[Finding]:
    choices = kernel_choices()
    best = next(name for name, runs, _ in choices if runs)
    try:
        used = choose_kernels()
    except IngleError as error:
        yield Finding("kernels", error.rule, "lack")
        return
    why = "forced by INGLE_CPU" if env.forced_isa() else "the best that runs here"
    yield Finding("kernels", f"{used}: {why}", "ok" if used == best else "note")
    for name, runs, reason in choices:
        if not runs:
            yield Finding("kernels", f"{name}: does not run here, {reason}", "note")


def _memory() -> Iterator[Finding]:
    limit = memory_limit()
    if limit.nbytes is None:
        yield Finding("memory", "the system does not say", "note")
        return
    text = f"{limit.nbytes / _GIB:.1f} GiB usable ({limit.origin})"
    available = _available_bytes()
    if available is not None:
        text += f", {available / _GIB:.1f} GiB of the machine's free now"
    yield Finding("memory", text, "ok" if limit.nbytes >= _ENOUGH_BYTES else "note")


def _available_bytes() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text()
        return int(text.split("MemAvailable:")[1].split()[0]) << 10
    except (OSError, IndexError, ValueError):
        return None


def _folders() -> Iterator[Finding]:
    folders = {"models": config.models_dir(), "downloads": env.huggingface_cache()}
    for subject, folder in folders.items():
        there = folder
        while not there.exists():
            there = there.parent
        if not os.access(there, os.W_OK):
            yield Finding(subject, f"{folder}: not writable", "lack")
            continue
        free = shutil.disk_usage(there).free
        text = f"{folder}, {as_size(free)} free"
        short = "" if free >= _ROOM_BYTES else ": too little for gpt-oss:20b (12.1 GB)"
        yield Finding(subject, text + short, "note" if short else "ok")


def _sources() -> Iterator[Finding]:
    here = [model for model in hub.listing() if model.path is not None]
    owners = sorted({model.owner for model in here})
    counts = (f"{sum(m.owner == owner for m in here)} of {owner}'s" for owner in owners)
    yield Finding("models here", ", ".join(counts) or "none; `ingle pull gpt-oss:20b` gets one")
    if env.text("HF_TOKEN"):
        yield Finding("HF_TOKEN", "set")
    elif (env.huggingface_cache().parent / "token").is_file():
        yield Finding("HF_TOKEN", "not set, but Hugging Face's tools are logged in")
    else:
        yield Finding("HF_TOKEN", "not set (gated models need one)", "note")


def _rates(rates: Rates) -> Finding:
    if rates.read_bytes_per_s is None:
        return Finding("measured", "nothing yet; `ingle doctor --measure` makes plans true", "note")
    parts = [f"memory {rates.read_bytes_per_s / 1e9:.1f} GB/s"]
    if rates.int8_ops_per_s:
        parts.append(f"int8 {rates.int8_ops_per_s / 1e12:.2f} Tops/s")
    if rates.disk_bytes_per_s:
        parts.append(f"disk {rates.disk_bytes_per_s / 1e9:.2f} GB/s")
    return Finding("measured", ", ".join(parts))


def _lacks() -> Iterator[Finding]:
    """What is missing for something that ingle could do."""
    for package, use in (("huggingface_hub", "pulls"), ("tokenizers", "models beside gpt-oss")):
        try:
            version(package)
        except PackageNotFoundError:
            yield Finding(package, f"not installed: {use} need it", "lack")
    yield Finding("GPU", "not used: this release computes on the processor", "note")


def _measure() -> dict[str, object]:
    """Measure, and write what `plan` reads: rates of all usable cores together."""
    threads, isa, folder = usable_cores(), choose_kernels(), env.home_dir()
    _tell("memory: reading 512 MiB over and over")
    memory = measure.memory_read(threads)
    _tell("arithmetic")
    int8, real = measure.int8_peak(threads, isa), measure.float_peak(threads, isa)
    folder.mkdir(parents=True, exist_ok=True)
    _tell("disk")
    disk = _disk()
    _tell("kernels")
    kernels = measure_usual(CpuBackend())
    rates: dict[str, object] = {
        "version": 1,
        "threads": threads,
        "kernels": isa,
        "memory_read_bytes_per_s": memory.best,
        "memory_read_median_bytes_per_s": memory.median,
        "int8_ops_per_s": int8.best,
        "float32_ops_per_s": real.best,
        "disk_read_bytes_per_s": disk,
        "kernel_rates": as_object(kernels),
    }
    add_rates(folder, rates)
    return rates


def _disk() -> float | None:
    """Of the largest model that is here, else of the models' folder; None where it fails."""
    files = [m for m in hub.listing() if m.path is not None and m.path.is_file()]
    largest = max(files, key=lambda model: model.file_bytes, default=None)
    folder = config.models_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return measure.disk_read(folder, largest.path if largest else None).best
    except OSError as error:
        _tell(f"disk: not measured ({error.strerror or error})")
        return None


def _tell(text: str) -> None:
    print(f"measuring {text}", file=sys.stderr, flush=True)
