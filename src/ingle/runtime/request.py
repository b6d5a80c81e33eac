"""Owns what one generation asks for and how it ended. Token ids only: no text, no stop strings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from numbers import Integral, Real
from typing import Any

from ingle.errors import IngleError
from ingle.ops import TokenConstraint

MAX_LOGPROBS = 20  # alternatives per token, as in OpenAI's API
_SEEDS = 1 << 64


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class SamplingParams:
    """How a token is drawn; the defaults draw from the model's own distribution.

    temperature: logits are divided by it; 0 takes the most likely token.
    top_k: only so many of the likeliest, 0 for all. top_p: the fewest whose probabilities reach
    this sum. min_p: only what is at least this share as likely as the likeliest. typical_p: the
    fewest, nearest to the expected surprise, that reach this sum. seed: None draws a fresh one.
    repetition_penalty divides (negative: multiplies) logits of prompt and answer; presence_penalty
    is subtracted once for a token of the answer, frequency_penalty for each time it stands there.
    logit_bias is added by id. Raises IngleError outside the ranges below.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (allows, rule) in _RULES.items():
            _check(name, getattr(self, name), Real, allows, f"a number {rule}")
        _check("top_k", self.top_k, Integral, lambda k: k >= 0, "a whole number, 0 (all) or more")
        if self.seed is not None:
            _check("seed", self.seed, Integral, lambda s: 0 <= s < _SEEDS, "from 0 to 2^64 - 1")
        _check(
            "logit_bias", self.logit_bias, Mapping, lambda _: True, "an object of ids and biases"
        )
        for token_id, bias in self.logit_bias.items():
            _check("logit_bias", token_id, Integral, lambda i: i >= 0, "by token id, 0 or more")
            _check("logit_bias", bias, Real, lambda b: -100 <= b <= 100, "from -100 to 100 per id")


_Rule = tuple[Callable[[Any], bool], str]
_RULES: dict[str, _Rule] = {  # NaN fails every comparison
    "temperature": (lambda x: 0 <= x <= 100, "from 0 to 100"),
    "top_p": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "min_p": (lambda x: 0 <= x <= 1, "from 0 to 1"),
    "typical_p": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "repetition_penalty": (lambda x: 0.01 <= x <= 100, "from 0.01 to 100"),
    "presence_penalty": (lambda x: -2 <= x <= 2, "from -2 to 2"),
    "frequency_penalty": (lambda x: -2 <= x <= 2, "from -2 to 2"),
}


@dataclass(frozen=True)
class Request:
    """A prompt and how to continue it.

    max_tokens None: until a stop id or the context's end. logprobs: that many alternatives are
    reported with each token's log-probability, 0 the token's alone, None nothing. prompt_logprobs:
    the same for the prompt's tokens after the first; max_tokens may then be 0.
    num_experts_per_tok None: as many as the model was made for. constraint: what the answer may
    say, from its first token on; it is used up by one generation.
    """

    prompt_ids: Sequence[int]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    max_tokens: int | None = None
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    num_experts_per_tok: int | None = None
    constraint: TokenConstraint | None = None
    prompt_logprobs: int | None = None

    def __post_init__(self) -> None:
        if not len(self.prompt_ids):
            raise IngleError("prompt", "prompt must be at least one token, but got an empty prompt")
        if self.max_tokens is not None:
            least = 1 if self.prompt_logprobs is None else 0
            _check(
                "max_tokens", self.max_tokens, Integral, lambda n: n >= least, f"{least} or more"
            )
        for name in ("logprobs", "prompt_logprobs"):
            if getattr(self, name) is not None:
                rule = f"a whole number from 0 to {MAX_LOGPROBS}"
                _check(name, getattr(self, name), Integral, lambda n: 0 <= n <= MAX_LOGPROBS, rule)
        if self.num_experts_per_tok is not None:
            experts = self.num_experts_per_tok
            _check("num_experts_per_tok", experts, Integral, lambda n: n >= 1, "1 or more")


def _check(name: str, value: Any, kind: type, allows: Callable[[Any], bool], rule: str) -> None:
    if isinstance(value, bool) or not isinstance(value, kind) or not allows(value):
        raise IngleError(name, f"{name} must be {rule}, but got {value!r:.60}")
