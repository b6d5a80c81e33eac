"""Owns measuring how fast an opened model reads and writes, on ids that loop no cache.

It does not know text. Figures are of this machine at this moment.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from ingle.evaluate.subject import CHUNK_TOKENS, Subject

_DECODED = 24
_PASSES = 3


@dataclass(frozen=True)
class Speed:
    """Medians, tokens per second: a prompt of a chunk, and answers one token at a time."""

    prompt_tokens_per_s: float
    decode_tokens_per_s: float


def measure(subject: Subject) -> Speed:
    """Random ids through `subject`, whose context must hold a chunk and some tokens more."""
    drawn = np.random.default_rng(0).integers(0, subject.vocab_size, CHUNK_TOKENS + _DECODED)
    ids = [int(one) for one in drawn]
    room = min(subject.context_tokens - _DECODED, CHUNK_TOKENS)
    prompts, steps = [], []
    for _ in range(_PASSES):
        started = time.perf_counter()
        subject.run(ids[:room])
        prompts.append(time.perf_counter() - started)
    for place in range(_DECODED):
        started = time.perf_counter()
        subject.step(ids[room + place], room + place)
        steps.append(time.perf_counter() - started)
    return Speed(room / statistics.median(prompts), 1 / statistics.median(steps))
