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
    forced: int = 0

    @property
    def mask_us(self) -> float:
        """Microseconds per mask."""
        return self.mask_s / self.masks * 1e6 if self.masks else 0.0
