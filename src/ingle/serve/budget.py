"""Owns the memory that a server may use, and what of it each model takes.

How much a model needs is its plan's word (`ingle.plan`). It does not know who is loaded when.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ingle.errors import IngleError
from ingle.plan.limits import available_bytes, memory_limit
from ingle.plan.memory import MemoryPlan

MOST_SEQUENCES = 8  # full contexts; short requests share the pages of one
_SHARE = 0.9  # of the machine's memory: the rest is for everybody else
_GIB = 1 << 30


@dataclass
class Demand:
    """What one model asks of memory, and what it was granted.

    plan: for so many sequences of full context; it may take a second. most: sequences at most.
    cache_bytes: wanted for prefixes beside them. granted, cache: what it got, None and 0 before.
    """

    plan: Callable[[int], MemoryPlan]
    most: int = MOST_SEQUENCES
    cache_bytes: int = 0
    granted: MemoryPlan | None = None
    cache: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes as granted."""
        return self.granted.total_bytes + self.cache if self.granted else 0

    def least_bytes(self) -> int:
        """Bytes for one sequence and no cache."""
        return self.plan(1).total_bytes

    def grant(self, room_bytes: int) -> None:
        """Takes as many sequences as fit, and what is left, up to what is wanted, as cache."""
        low, high = 1, self.most
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.plan(middle).total_bytes + self.cache_bytes <= room_bytes
            low, high = (middle, high) if fits else (low, middle - 1)
        self.granted = self.plan(low)
        self.cache = min(self.cache_bytes, max(0, room_bytes - self.granted.total_bytes))

    def give_back(self) -> None:
        """It takes nothing any more."""
        self.granted, self.cache = None, 0


class Budget:
    """Bytes for all models together. limit_bytes: None for most of what this process may use."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        limit = memory_limit()
        if limit_bytes is not None and limit.nbytes is not None and limit_bytes > limit.nbytes:
            rule = f"it must be at most {limit.origin}, {_gib(limit.nbytes)}"
            raise IngleError("--memory", f"{rule}, but got {_gib(limit_bytes)}")
        usual = round((limit.nbytes or 1 << 62) * _SHARE)
        self.limit_bytes = usual if limit_bytes is None else limit_bytes
        self._given = limit_bytes is not None

    def check(self, name: str, least_bytes: int) -> None:
        """Raise IngleError for a model that does not fit though it were alone."""
        if least_bytes > self.limit_bytes:
            rule = f"{name} needs {_gib(least_bytes)} of memory for one sequence"
            hint = "a smaller --context, quantization or model needs less"
            raise IngleError("memory", f"{rule}, but got {_gib(self.limit_bytes)} for all", hint)

    def room(self, taken_bytes: int) -> int:
        """Bytes that are left for one more model's sequences and prefixes.

        taken_bytes: what is granted to those that are loaded. Without a limit of the user's, what
        other programs have taken is not there either.
        """
        left = self.limit_bytes - taken_bytes
        now = None if self._given else available_bytes()
        return left if now is None else min(left, round(now * _SHARE))


def _gib(nbytes: int) -> str:
    return f"{nbytes / _GIB:.2f} GiB"
