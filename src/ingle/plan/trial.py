"""Owns comparing a plan with a run: what was measured, how far off the plan was, what to correct.

It does not run anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ingle.plan.forecast import Outlook
from ingle.plan.memory import plan_memory
from ingle.plan.rates import Corrections
from ingle.plan.speed import decode_s, prefill_s

_SLOWEST, _FASTEST = 10.0, 0.1  # factors beyond are told, and not stored


@dataclass(frozen=True)
class Trial:
    """A run: seconds it took, and bytes by category as those who allocated them state.

    prompt_tokens took prompt_s; completion_tokens took decode_s after them. memory_bytes: of
    the process, anonymous and mapped pages; None where the system does not tell.
    """

    load_s: float
    prompt_tokens: int
    prompt_s: float
    completion_tokens: int
    decode_s: float
    categories: Mapping[str, int]
    memory_bytes: int | None


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
    for name, measured in trial.categories.items():
        if measured or seen.memory.categories[name]:
            yield Row(name, "bytes", seen.memory.categories[name], measured)
    if trial.memory_bytes is not None:
        yield Row("touched, in all", "bytes", _touched_bytes(seen, trial), trial.memory_bytes)
    yield Row("load", "s", seen.speed.load_s, trial.load_s)
    yield Row(
        "prompt",
        "tokens/s",
        trial.prompt_tokens / _planned_prompt_s(seen, trial),
        trial.prompt_tokens / trial.prompt_s,
    )
    yield Row(
        "answer",
        "tokens/s",
        1 / _planned_token_s(seen, trial),
        trial.completion_tokens / trial.decode_s,
    )


def corrected(before: Corrections, seen: Outlook, trial: Trial) -> Corrections:
    """The corrections under which the plan, made under `before`, would have been right."""
    token_s = trial.decode_s / trial.completion_tokens
    return Corrections(
        decode=_factor(before.decode, token_s / _planned_token_s(seen, trial)),
        prefill=_factor(before.prefill, trial.prompt_s / _planned_prompt_s(seen, trial)),
        load=_factor(before.load, trial.load_s / seen.speed.load_s),
    )


def _touched_bytes(seen: Outlook, trial: Trial) -> int:
    """Of the plan; pages of keys and values count as far as the run came."""
    used = min(seen.memory.context_tokens, trial.prompt_tokens + trial.completion_tokens)
    kv_bytes = plan_memory(seen.model, used).kv_bytes
    return seen.memory.total_bytes - seen.memory.kv_bytes + kv_bytes


def _factor(before: float, off: float) -> float:
    factor = before * off
    return factor if _FASTEST <= factor <= _SLOWEST else before


def _planned_prompt_s(seen: Outlook, trial: Trial) -> float:
    return prefill_s(seen.model, seen.machine, trial.prompt_tokens)


def _planned_token_s(seen: Outlook, trial: Trial) -> float:
    """Of a token in the middle of the answer."""
    context = trial.prompt_tokens + trial.completion_tokens // 2
    return decode_s(seen.model, seen.machine, context)
