"""Owns what one generation asks for and how it ended. Token ids only: no text, no stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ingle.errors import IngleError


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class SamplingParams:
    """How a token is drawn. temperature 0 takes the most likely; top_k 0 and top_p 1 keep all."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.temperature <= 100, "temperature", "from 0 to 100", self.temperature)
        _require(0 < self.top_p <= 1, "top_p", "above 0 and at most 1", self.top_p)
        _require(self.top_k >= 0, "top_k", "0 (all) or more", self.top_k)
        seed = self.seed
        _require(seed is None or 0 <= seed < 1 << 64, "seed", "from 0 to 2^64 - 1", seed)


@dataclass(frozen=True)
class Request:
    """A prompt and how to continue it. max_tokens None: until a stop id or the context's end."""

    prompt_ids: Sequence[int]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    max_tokens: int | None = None
    stop_ids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        _require(len(self.prompt_ids) > 0, "prompt", "at least one token", "an empty prompt")
        ok = self.max_tokens is None or self.max_tokens >= 1
        _require(ok, "max_tokens", "1 or more", self.max_tokens)


def _require(condition: bool, name: str, rule: str, value: object) -> None:
    if not condition:
        raise IngleError(name, f"{name} must be {rule}, but got {value}")
