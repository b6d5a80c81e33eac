"""``ingle plan --check``: owns the run that a plan is held against, and how both are shown.

Ids are drawn at random: what a model of random weights would say loops, and flatters every cache.
Rates are measured in turns with the run, in a process of their own. Of both the best round
counts: what else a machine does only slows, and is not the same from one second to the next.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from ingle.backends.cpu import CpuBackend
from ingle.backends.cpu.cores import usable_cores
from ingle.backends.cpu.weight import CpuMatrix, CpuVector
from ingle.errors import IngleError, UnsupportedError
from ingle.formats import open_container
from ingle.hub.progress import as_size
from ingle.models import load_model
from ingle.models.decoder import Decoder
from ingle.numerics.tiles import num_tiles
from ingle.ops import Batch, KvLayout, Weight
from ingle.ops.protocol import run_model
from ingle.plan.anatomy import Anatomy, Census
from ingle.plan.forecast import Outlook, outlook
from ingle.plan.kernels import Kernels, as_object, from_object
from ingle.plan.local import machine_of
from ingle.plan.probe import INNER
from ingle.plan.rates import Corrections, add_rates, read_rates, write_corrections
from ingle.plan.residency import (
    Range,
    cold_bytes,
    disk_bytes_per_s,
    process_bytes,
    ranges_of,
    resident_bytes,
    touch_bytes_per_s,
)
from ingle.plan.subject import Subject
from ingle.plan.tape import TileBackend, idle_bytes
from ingle.plan.trial import Row, Trial, compared, corrected
from ingle.runtime.engine import CHUNK_TOKENS
from ingle.runtime.kv import KvPool, KvSequence

_PROMPT_TOKENS, _ANSWER_TOKENS = 512, 32
_ROUNDS, _PROMPTS = 3, 2  # of a round; the very first prompt of all warms
_SEED = 20250805
_PROBE_S = 300  # no machine needs as long


def check(subject: Subject, seen: Outlook, folder: Path, as_json: bool) -> None:
    """Run the file on this machine, print plan and run, store rates and corrections in `folder`.

    Raises UnsupportedError for what is no file, and for a machine that is not at hand.
    """
    if subject.path is None:
        rule = f"a plan is checked by running a file, but got the name {subject.name}"
        raise UnsupportedError("--check", rule, "name a file; `ingle synth` makes one of any size")
    if not seen.machine.here or seen.memory.batch != 1:
        rule = "a check runs here, one sequence at a time, but got another machine or batch"
        raise UnsupportedError("--check", rule, "leave out --gpu, --vram and --batch")
    if not seen.fits:
        rule = f"the plan must fit, but got {as_size(seen.memory.total_bytes)}"
        raise UnsupportedError("--check", rule, "choose a shorter --context")
    context = min(seen.memory.context_tokens, _PROMPT_TOKENS + _ANSWER_TOKENS)
    wanted = _Wanted.of(subject, seen.model)
    measured: list[Kernels] = []
    disk = disk_bytes_per_s(subject.files[0])
    trial = run(
        subject.path,
        context,
        subject.files,
        subject.mapped,
        wanted.idle_bytes,
        lambda: measured.append(probe(wanted)),
    )
    kernels = reduce(Kernels.best, measured)
    stored = read_rates(folder)
    rates = replace(
        stored,
        disk_bytes_per_s=disk or stored.disk_bytes_per_s,
        kernels=kernels,
        runtime_bytes=trial.runtime_bytes,
        header_bytes_per_s=_header_bytes_per_s(subject),
        touch_bytes_per_s=touch_bytes_per_s(subject.files[0], usable_cores()),
    )
    plan = outlook(subject, machine_of(rates, seen.machine.memory_bytes), context)
    rows = list(compared(plan, trial))
    known = kernels if stored.kernels is None else _together(stored.kernels, kernels)
    numbers = ("runtime_bytes", "header_bytes_per_s", "touch_bytes_per_s")
    found = {name: getattr(rates, name) for name in numbers}
    found["disk_read_bytes_per_s"] = rates.disk_bytes_per_s
    add_rates(folder, {"kernel_rates": as_object(known), **found})
    write_corrections(folder, corrected(Corrections(), plan, trial))
    _show(rows, context, as_json)


def _header_bytes_per_s(subject: Subject) -> float | None:
    """Of reading once more through what the run has read through."""
    assert subject.path is not None
    begun = perf_counter()
    open_container(subject.path)
    return subject.metadata_bytes / (perf_counter() - begun) or None


@dataclass(frozen=True)
class _Wanted:
    """Which kernels a model runs, at which widths, and how much of its scratch lies idle."""

    names: tuple[str, ...]
    width: int
    inner: int
    nbytes: int
    idle_bytes: int

    @classmethod
    def of(cls, subject: Subject, model: Anatomy) -> _Wanted:
        shape = load_model(subject.container, TileBackend(subject.mapped), 64)
        config = shape.config
        inner = getattr(config, "moe_intermediate_size", 0) if model.num_local_experts else 0
        inner = inner or getattr(config, "intermediate_size", 0) or INNER
        kernels = {matrices.kernel for matrices in model.matrices} | set(model.copied_bytes)
        nbytes = sum(model.weights.values())
        names = tuple(sorted(kernels))
        return cls(names, config.hidden_size, int(inner), nbytes, idle_bytes(shape))


def probe(wanted: _Wanted) -> Kernels:
    """Rates of the kernels now. IngleError when the process that measures them fails."""
    sizes = (str(size) for size in (wanted.width, wanted.inner, wanted.nbytes))
    command = [sys.executable, "-m", "ingle.plan.probe", *sizes, *wanted.names]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_PROBE_S, check=True)
        found = from_object(json.loads(ended.stdout))
    except (OSError, ValueError, subprocess.SubprocessError):
        found = None
    if found is None:
        raise IngleError("--check", "this machine's rates must be measured, but that failed")
    return found


def _together(stored: Kernels, now: Kernels) -> Kernels:
    return Kernels({**stored.of, **now.of}, now.layer_s, now.step_s)


@dataclass
class _Loaded:
    """A model ready to run, the ids that went through it, and the last logits."""

    backend: CpuBackend
    model: Decoder
    pool: KvPool
    draw: random.Random
    logits: NDArray[np.float32] | None = None

    def step(self, sequence: KvSequence, start: int, count: int) -> float:
        """Seconds of `count` tokens from position `start`."""
        ids = [self.draw.randrange(self.model.vocab_size) for _ in range(count)]
        batch = Batch.chunk(ids, start, self.pool, sequence, [count - 1])
        begun = perf_counter()
        self.logits = self.backend.forward(self.model, batch)
        return perf_counter() - begun


def run(
    path: Path,
    context_tokens: int,
    files: Iterable[Path] = (),
    mapped: bool = False,
    idle_bytes: int = 0,
    between: Callable[[], None] = lambda: None,
) -> Trial:
    """Load the model, run a prompt and an answer of random ids; what that took. idle_bytes: of the
    activations' memory, what such steps do not touch. files: all that `path` stands for. mapped:
    they are mapped, not copied. between: called after each round."""
    backend = CpuBackend()
    cold = cold_bytes(files)
    gc.collect()
    runtime_bytes = process_bytes()
    started = perf_counter()
    container = open_container(path)
    model = load_model(container, backend, context_tokens)
    container.release()  # pages of the file that were copied into kernel layout
    pool = KvPool(KvLayout(model.attention_shapes), context_tokens, CHUNK_TOKENS)
    load_s = perf_counter() - started
    loaded, sequence = _Loaded(backend, model, pool, random.Random(_SEED)), KvSequence(pool)
    answer = max(1, min(_ANSWER_TOKENS, context_tokens // 2))
    prompt = max(1, min(_PROMPT_TOKENS, context_tokens - answer))
    first_s = loaded.step(sequence, 0, prompt)
    prompts: list[float] = []
    tokens: list[float] = []
    memory_bytes, touched = None, None
    for _ in range(_ROUNDS):
        prompts.append(median(loaded.step(sequence, 0, prompt) for _ in range(_PROMPTS)))
        tokens.append(median(loaded.step(sequence, prompt + i, 1) for i in range(answer)))
        if touched is None:  # before a probe's memory drives pages of a map out
            memory_bytes = process_bytes()
            touched = _touched(loaded, mapped, idle_bytes)
        between()
    if mapped:
        load_s += max(0.0, first_s - min(prompts))  # mapped pages came with the first prompt
    return Trial(
        load_s,
        cold,
        prompt,
        min(prompts),
        answer,
        min(tokens),
        touched or {},
        memory_bytes,
        runtime_bytes,
        idle_bytes,
    )


def _touched(loaded: _Loaded, mapped: bool, idle_bytes: int) -> dict[str, int]:
    """Bytes by category: pages that are there, else what their owners state."""
    census = Census()
    run_model(loaded.model, census)
    found = census.bytes_in_memory(mapped)
    places: dict[str, list[Range]] = {name: [] for name in found}
    for category, weight in census.handles(mapped):
        places[category] += _ranges(weight)
    pool = loaded.pool
    for name in ("kv_full", "kv_sliding"):
        found[name], places[name] = 0, []
    for group, keys, values in zip(pool.layout.groups, pool.keys, pool.values, strict=True):
        name = "kv_sliding" if group.window else "kv_full"
        found[name] += keys.nbytes + values.nbytes
        places[name] += ranges_of((keys, values))
    for name, ranges in places.items():
        there = resident_bytes(ranges)
        found[name] = found[name] if there is None else there
    return found | {"activations": _activations(loaded, idle_bytes)}


def _activations(loaded: _Loaded, idle_bytes: int) -> int:
    """Of scratch and of the last logits."""
    logits = loaded.logits.base if loaded.logits is not None else None
    logits_bytes = logits.nbytes if isinstance(logits, np.ndarray) else 0
    scratch = loaded.backend.scratch_places(loaded.model)
    there = resident_bytes((place, place + size) for place, size in scratch)
    if there is None:
        there = loaded.backend.scratch_bytes(loaded.model) - idle_bytes
    return there + logits_bytes


def _ranges(weight: Weight) -> list[Range]:
    if isinstance(weight, CpuVector):
        return ranges_of([weight.values])
    assert isinstance(weight, CpuMatrix)
    tiles = weight.tiles
    size = num_tiles(tiles.rows) * tiles.tile_stride
    starts = (matrix.ctypes.data + tiles.offset for matrix in tiles.data)
    return [(start, start + size) for start in starts]


def _show(rows: list[Row], context_tokens: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps([vars(row) | {"error": row.error} for row in rows], allow_nan=False))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for line in _page(rows, context_tokens):
        console.print(line)


def _page(rows: list[Row], context_tokens: int) -> Iterator[Text]:
    yield Text(f"{'':<18}{'planned':>18}{'measured':>18}{'off by':>10}", style="dim")
    for row in rows:
        shown = (_shown(row.planned, row.unit), _shown(row.measured, row.unit))
        yield Text(f"{row.name:<18}{shown[0]:>18}{shown[1]:>18}{row.error:>+10.1%}")
    yield Text(f"of a run over {context_tokens:,} tokens of context, touched pages", style="dim")
    yield Text("speeds of the next plan are corrected by what was measured", style="dim")


def _shown(value: float, unit: str) -> str:
    if unit == "bytes":
        return as_size(round(value))
    return f"{value:,.2f} {unit}" if unit == "s" else f"{value:,.1f} {unit}"
