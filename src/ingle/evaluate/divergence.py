"""Owns the numbers of one prediction: how surprised a model was, how far it is from another.

Kullback-Leibler divergence is D(P || Q) = sum P log(P / Q) in nats, P the reference. It does not
know windows or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]
Ids = NDArray[np.int64]

GOLDEN = 0.6180339887498949  # its multiples modulo 1 are spread evenly


class Distributions(Protocol):
    """What a reference says of some rows."""

    def divergence_to(self, logits: Softmax) -> Reals:
        """D(reference || logits) of each row."""

    def top_ids(self) -> Ids:
        """The most likely id of each row."""

    def log_probabilities(self, ids: Ids) -> Reals:
        """Of the id that came next in each row."""


@dataclass(frozen=True)
class Softmax:
    """Rows of logits, float32 (R, vocab_size), read as distributions."""

    logits: Floats

    @cached_property
    def _highest(self) -> Floats:
        highest: Floats = self.logits.max(axis=1)
        return highest

    @cached_property
    def exponentials(self) -> Floats:
        """exp(logit - highest), float32 (R, vocab_size)."""
        powers: Floats = np.exp(self.logits - self._highest[:, None])
        return powers

    @cached_property
    def totals(self) -> Reals:
        """Sums of the exponentials (R,)."""
        totals: Reals = self.exponentials.sum(axis=1, dtype=np.float64)
        return totals

    @cached_property
    def log_totals(self) -> Reals:
        """log sum exp of each row (R,): a log-probability is a logit less this."""
        logs: Reals = self._highest.astype(np.float64) + np.log(self.totals)
        return logs

    def top_ids(self) -> Ids:
        """The most likely id of each row."""
        best: Ids = np.argmax(self.logits, axis=1)
        return best

    def log_probabilities(self, ids: Ids) -> Reals:
        """Of one id of each row (R,), or of several (R, n)."""
        chosen = np.take_along_axis(self.logits, ids.reshape(len(ids), -1), axis=1)
        logs: Reals = chosen.astype(np.float64) - self.log_totals[:, None]
        return logs.reshape(ids.shape)

    def divergence_to(self, logits: Softmax) -> Reals:
        """D(self || logits) of each row."""
        weighted = self.exponentials * (self.logits - logits.logits)
        means = weighted.sum(axis=1, dtype=np.float64) / self.totals
        divergence: Reals = means - (self.log_totals - logits.log_totals)
        return divergence


@dataclass(frozen=True)
class TopRows:
    """The most likely ids of each row, best first, with log-probabilities; of the rest a sample.

    The sample is drawn in proportion to probability, so the divergence is an unbiased estimate.
    """

    ids: NDArray[np.uint32]  # (R, kept)
    logs: Floats  # (R, kept)
    sample_ids: NDArray[np.uint32]  # (R, kept), from those that are not in `ids`
    sample_logs: Floats  # (R, kept)
    next_logs: Floats  # (R,), of the id that came next, kept or not

    def top_ids(self) -> Ids:
        """The most likely id of each row."""
        return self.ids[:, 0].astype(np.int64)

    def log_probabilities(self, ids: Ids) -> Reals:
        """Of the ids that came next; they are as they were when the rows were kept."""
        logs: Reals = self.next_logs.astype(np.float64)
        return logs

    def divergence_to(self, logits: Softmax) -> Reals:
        """The kept ids' share, and the rest's mass times what the sample's ids differ by."""
        logs = self.logs.astype(np.float64)
        kept = (np.exp(logs) * (logs - logits.log_probabilities(_wide(self.ids)))).sum(axis=1)
        rest = np.maximum(1.0 - np.exp(logs).sum(axis=1), 0.0)
        theirs = logits.log_probabilities(_wide(self.sample_ids))
        divergence: Reals = kept + rest * (self.sample_logs - theirs).mean(axis=1)
        return divergence

    @classmethod
    def of(cls, logits: Softmax, next_ids: Ids, kept: int) -> TopRows:
        """The `kept` most likely ids of each row, ties to the lower id, and as many drawn."""
        kept = min(kept, logits.logits.shape[1])
        ids = np.argpartition(-logits.logits, kept - 1, axis=1)[:, :kept]
        ids.sort(axis=1)
        chosen = np.take_along_axis(logits.logits, ids, axis=1)
        order = np.argsort(-chosen, axis=1, kind="stable")
        best = np.take_along_axis(ids, order, axis=1)
        drawn = _drawn(logits, best, kept)
        return cls(
            best.astype(np.uint32),
            logits.log_probabilities(best).astype(np.float32),
            drawn.astype(np.uint32),
            logits.log_probabilities(drawn).astype(np.float32),
            logits.log_probabilities(next_ids).astype(np.float32),
        )


@dataclass(frozen=True)
class SteppedRows:
    """Every log-probability in 65,536 steps of each row's range, as llama.cpp keeps them.

    Those more than 16 below the best share the lowest step; below exp(-16) they count as nothing.
    """

    codes: NDArray[np.uint16]  # (R, vocab_size)
    scale: Floats  # (R,)
    lowest: Floats  # (R,)

    _FLOOR = -16.0

    @cached_property
    def _logs(self) -> Floats:
        logs: Floats = self.codes * self.scale[:, None] + self.lowest[:, None]
        return logs

    def top_ids(self) -> Ids:
        """The most likely id of each row."""
        best: Ids = np.argmax(self.codes, axis=1)
        return best

    def log_probabilities(self, ids: Ids) -> Reals:
        """Of one id of each row."""
        chosen = np.take_along_axis(self._logs, ids[:, None], axis=1)
        logs: Reals = chosen[:, 0].astype(np.float64)
        return logs

    def divergence_to(self, logits: Softmax) -> Reals:
        """As llama.cpp sums it."""
        difference = self._logs - logits.logits
        counted = np.where(self._logs > self._FLOOR, np.exp(self._logs), np.float32(0))
        mass = counted.sum(axis=1, dtype=np.float64)
        summed = (counted * difference).sum(axis=1, dtype=np.float64)
        divergence: Reals = summed + mass * logits.log_totals
        return divergence

    @classmethod
    def of(cls, logits: Softmax) -> SteppedRows:
        """Rounded to the nearest step, ties to even."""
        x = logits.logits
        highest = x.max(axis=1)
        low = np.maximum(x.min(axis=1), highest - np.float32(16))
        scale = ((highest - low) / np.float32(65535)).astype(np.float32)
        inverse = np.where(scale > 0, np.float32(1) / np.where(scale > 0, scale, 1), 0)
        codes = np.rint(np.maximum(x - low[:, None], 0) * inverse[:, None].astype(np.float32))
        lowest = (low - logits.log_totals).astype(np.float32)
        return cls(np.minimum(codes, 65535).astype(np.uint16), scale, lowest)


def _drawn(logits: Softmax, without: Ids, count: int) -> Ids:
    """`count` ids of each row in proportion to their probability, none of those in `without`.

    Evenly spaced through the cumulative distribution from a start that differs from row to row
    (systematic sampling); where nothing is left, the last id.
    """
    weights = logits.exponentials.copy()
    np.put_along_axis(weights, without, 0, axis=1)
    cumulative = np.cumsum(weights, axis=1, dtype=np.float64)
    starts = np.arange(1, len(weights) + 1) * GOLDEN % 1.0
    places = (starts[:, None] + np.arange(count)) / count * cumulative[:, -1:]
    found = np.stack(
        [np.searchsorted(*row, side="right") for row in zip(cumulative, places, strict=True)]
    )
    drawn: Ids = np.minimum(found, weights.shape[1] - 1)
    return drawn


def _wide(ids: NDArray[np.uint32]) -> Ids:
    return ids.astype(np.int64)
