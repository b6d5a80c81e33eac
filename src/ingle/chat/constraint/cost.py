"""Owns what a constraint cost: times that are told, and never acted upon."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Cost:
    """Seconds. vocabulary_s: reading the vocabulary into tries, once per process; compile_s: of
    grammars; mask_s: of `masks` masks and of taking in as many tokens."""

    vocabulary_s: float = 0.0
    compile_s: float = 0.0
    mask_s: float = 0.0
    masks: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Both together; the vocabulary is read once."""
        return Cost(
            max(self.vocabulary_s, other.vocabulary_s),
            self.compile_s + other.compile_s,
            self.mask_s + other.mask_s,
            self.masks + other.masks,
        )

    @property
    def mask_us(self) -> float:
        """Microseconds per mask."""
        return self.mask_s / self.masks * 1e6 if self.masks else 0.0
