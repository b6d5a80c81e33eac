"""Owns the answer to "will it run, and how fast": one model on one machine, and what would be best.

It puts memory, speed and the hardware table together; it does not know how answers are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ingle.errors import IngleError
from ingle.plan.anatomy import Anatomy, anatomy
from ingle.plan.hardware import Machine, machines
from ingle.plan.memory import MemoryPlan, largest_context, plan_memory
from ingle.plan.residency import cold_bytes
from ingle.plan.speed import Speed, forecast
from ingle.plan.subject import Subject, open_subject

DEFAULT_CONTEXT = 4096
TABLE_CONTEXTS = tuple(1024 * k for k in (1, 4, 8, 16, 32, 63, 125))

# Best first. gpt-oss was trained in MXFP4: more bits for its experts hold nothing more.
QUANTS_OF_GPT_OSS = ("MXFP4+BF16", "MXFP4+Q8_0", "MXFP4+Q4_1", "MXFP4+Q4_0")
QUANTS = ("BF16", "Q8_0", "Q4_1", "Q4_0")


@dataclass(frozen=True)
class Outlook:
    """A model on a machine, with so many sequences of so much context. cold_bytes: of its file, as
    far as they are not in this machine's memory already."""

    model: Anatomy
    machine: Machine
    memory: MemoryPlan
    speed: Speed
    cold_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the machine's limit holds the plan."""
        return self.memory.total_bytes <= self.machine.memory_bytes


@dataclass(frozen=True)
class Choice:
    """A quantization and the longest context that fits with it; None for a file as it is."""

    quant: str | None
    context_tokens: int
    decode_tokens_per_s: float


@cache
def _known(name: str, quant: str | None, gpu: bool) -> Anatomy:
    return anatomy(open_subject(name, quant), gpu)


def outlook(
    subject: Subject, machine: Machine, context_tokens: int | None = None, batch: int = 1
) -> Outlook:
    """context_tokens: default 4096 or the model's limit, whichever is less. Raises IngleError."""
    model = anatomy(subject, machine.gpu)
    cold = cold_bytes(subject.files) if subject.files and machine.here else subject.file_bytes
    return _outlook(model, machine, context_tokens, batch, cold)


def _outlook(
    model: Anatomy,
    machine: Machine,
    context_tokens: int | None,
    batch: int,
    cold: int | None = None,
) -> Outlook:
    if machine.runtime_bytes:
        model = replace(model, runtime_bytes=machine.runtime_bytes)
    context = min(DEFAULT_CONTEXT, model.max_context_tokens)
    context = context if context_tokens is None else context_tokens
    memory = plan_memory(model, context, batch)
    cold = model.file_bytes if cold is None else cold
    return Outlook(model, machine, memory, forecast(model, machine, context, batch, cold), cold)


def quants(subject: Subject) -> tuple[str, ...]:
    """Quantizations worth a look, best first; none for a file."""
    if subject.recipe is None:
        return ()
    return QUANTS_OF_GPT_OSS if subject.name.startswith("gpt-oss") else QUANTS


def best_choice(
    subject: Subject, machine: Machine, context_tokens: int, batch: int = 1
) -> Choice | None:
    """The best quantization that fits with this context, and how far it goes; None: none fits.

    BF16 is not considered: Q8_0 answers the same at half the bytes.
    """
    for quant in quants(subject)[1:] or (None,):
        model = _variant(subject, quant, machine.gpu)
        context = min(context_tokens, model.max_context_tokens)
        seen = _outlook(model, machine, context, batch)
        if seen.fits:
            longest = max(context, largest_context(model, machine.memory_bytes, batch))
            return Choice(quant, longest, seen.speed.decode_tokens_per_s)
    return None


def sufficient(subject: Subject, context_tokens: int, batch: int = 1) -> list[Outlook]:
    """Every machine of the table that holds it, least memory first, fast before slow."""
    variants = {gpu: anatomy(subject, gpu) for gpu in (False, True)}
    seen = (
        _outlook(variants[machine.gpu], machine, context_tokens, batch)
        for machine in machines().values()
    )
    return sorted(
        (one for one in seen if one.fits),
        key=lambda one: (one.machine.memory_bytes, -one.speed.decode_tokens_per_s),
    )


def table(
    subject: Subject, machine: Machine, batch: int = 1
) -> Iterator[tuple[str, list[MemoryPlan | None]]]:
    """A row per quantization: its name, and the plan at each of TABLE_CONTEXTS; None where the
    model was made for less."""
    for quant in quants(subject) or (None,):
        model = _variant(subject, quant, machine.gpu)
        plans = [
            plan_memory(model, context, batch) if context <= model.max_context_tokens else None
            for context in TABLE_CONTEXTS
        ]
        yield model.recipe, plans


def as_object(seen: Outlook) -> dict[str, Any]:
    """The answer as `--json` prints it: bytes, seconds, tokens per second. `categories` always has
    every name of CATEGORIES; those of parts that the engine does not have are 0."""
    memory, speed, machine = seen.memory, seen.speed, seen.machine
    return {
        "model": seen.model.name,
        "quantization": seen.model.recipe,
        "parameters": seen.model.parameters,
        "active_parameters": seen.model.active_parameters,
        "context_tokens": memory.context_tokens,
        "batch": memory.batch,
        "machine": machine.name,
        "rates": machine.source,
        "categories": dict(memory.categories),
        "total_bytes": memory.total_bytes,
        "limit_bytes": machine.memory_bytes,
        "fits": seen.fits,
        "file_bytes": seen.model.file_bytes,
        "cold_bytes": seen.cold_bytes,
        "load_s": speed.load_s,
        "ttft_s": speed.ttft_s,
        "prompt_tokens": speed.prompt_tokens,
        "prefill_tokens_per_s": speed.prefill_tokens_per_s,
        "decode_tokens_per_s": speed.decode_tokens_per_s,
        "limited_by": speed.limited_by,
    }


def _variant(subject: Subject, quant: str | None, gpu: bool) -> Anatomy:
    """In another quantization; IngleError never, for those offered fit every known model."""
    if quant is None:
        return anatomy(subject, gpu)
    if subject.path is not None:
        raise IngleError(subject.name, "a file is planned as it is, but got a quantization")
    return _known(subject.name, quant, gpu)
