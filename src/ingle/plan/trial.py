"""Owns comparing a plan with a run: what was measured, how far off the plan was, what to correct.

It does not run anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ingle.plan.forecast import Outlook
from ingle.plan.rates import Corrections
from ingle.plan.speed import decode_s, load_s, prefill_s

_SLOWEST, _FASTEST = 10.0, 0.1  # factors beyond are told, and not stored


@dataclass(frozen=True)
class Trial:
    """A run: seconds it took, and bytes by category that were there after it.

    load_s: until the model was ready and its weights were there, with `cold_bytes` of the file not
    in memory before. prompt_tokens took prompt_s; each of completion_tokens after them took
    decode_s. categories: anonymous and mapped pages, as far as
    the system tells, else bytes as their owners state them. memory_bytes: of the process;
    runtime_bytes: of it before anything was loaded; None where the system does not tell.
    idle_bytes: of activations, what such a run does not touch; they are in none of these figures.
    """

    load_s: float
    cold_bytes: int
    prompt_tokens: int
    prompt_s: float
    completion_tokens: int
    decode_s: float
    categories: Mapping[str, int]
    memory_bytes: int | None = None
    runtime_bytes: int | None = None
    idle_bytes: int = 0


@dataclass(frozen=True)
class Row:
    """planned and measured in one unit: "bytes", "s" or "tokens/s"."""

    name: str
    unit: str
    planned: float
    measured: float

    @property
    def error(self) -> float:
        """measured / planned - 1; infinite where nothing was planned and something measured."""
        if not self.planned:
            return 0.0 if not self.measured else float("inf")
        return self.measured / self.planned - 1.0


def compared(seen: Outlook, trial: Trial) -> Iterator[Row]:
    """Plan and run, category by category, then the sum, then speeds."""
    planned = dict(seen.memory.categories)
    planned["activations"] -= trial.idle_bytes
    measured = dict(trial.categories)
    if trial.memory_bytes is not None and trial.runtime_bytes is not None:
        planned["runtime"] += trial.runtime_bytes - seen.model.runtime_bytes
        measured["runtime"] = trial.memory_bytes - sum(measured.values())
    for name, nbytes in measured.items():
        if nbytes or planned[name]:
            yield Row(name, "bytes", planned[name], nbytes)
    if trial.memory_bytes is not None:
        yield Row("all memory", "bytes", sum(planned.values()), trial.memory_bytes)
    yield Row("load", "s", _planned_load_s(seen, trial), trial.load_s)
    yield Row(
        "prompt",
        "tokens/s",
        trial.prompt_tokens / _planned_prompt_s(seen, trial),
        trial.prompt_tokens / trial.prompt_s,
    )
    yield Row("answer", "tokens/s", 1 / _planned_token_s(seen, trial), 1 / trial.decode_s)


def corrected(before: Corrections, seen: Outlook, trial: Trial) -> Corrections:
    """The corrections under which the plan, made under `before`, would have been right."""
    return Corrections(
        decode=_factor(before.decode, trial.decode_s / _planned_token_s(seen, trial)),
        prefill=_factor(before.prefill, trial.prompt_s / _planned_prompt_s(seen, trial)),
        load=_factor(before.load, trial.load_s / max(_planned_load_s(seen, trial), 1e-9)),
    )


def _factor(before: float, off: float) -> float:
    factor = before * off
    return factor if _FASTEST <= factor <= _SLOWEST else before


def _planned_load_s(seen: Outlook, trial: Trial) -> float:
    return load_s(seen.model, seen.machine, trial.cold_bytes)


def _planned_prompt_s(seen: Outlook, trial: Trial) -> float:
    return prefill_s(seen.model, seen.machine, trial.prompt_tokens)


def _planned_token_s(seen: Outlook, trial: Trial) -> float:
    """Of a token in the middle of the answer."""
    context = trial.prompt_tokens + trial.completion_tokens // 2
    return decode_s(seen.model, seen.machine, context)
