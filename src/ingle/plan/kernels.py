"""Owns what kernels reach on this machine: by number format and kind of work, as plain numbers.

`ingle.plan.probe` measures them, `ingle.plan.rates` keeps them. It does not measure anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

EXPERTS = " experts"  # after a format: stacks of which each token takes a few
ATTENTION, WINDOWED = "attention", "attention in windows"


@dataclass(frozen=True)
class Kernel:
    """read_bytes_per_s: of weights, or of keys and values, for one token. ops_per_s: in a chunk of
    a prompt, two per multiply-add. repack_bytes_per_s: of bringing weights into the kernel layout,
    0 where that was not measured."""

    read_bytes_per_s: float
    ops_per_s: float
    repack_bytes_per_s: float = 0.0


@dataclass(frozen=True)
class Kernels:
    """of: by name, a format such as "Q8_0", a format and EXPERTS, ATTENTION, WINDOWED.

    layer_s: of each layer of each step, however small. step_s: of each step.
    """

    of: Mapping[str, Kernel] = field(default_factory=dict)
    layer_s: float = 0.0
    step_s: float = 0.0

    def find(self, name: str) -> Kernel | None:
        """Experts that were not measured are as fast as other matrices of their format."""
        return self.of.get(name) or self.of.get(name.removesuffix(EXPERTS))

    def best(self, other: Kernels) -> Kernels:
        """The faster of two measurements, rate by rate: what else runs on a machine only slows."""
        names = {**self.of, **other.of}
        return Kernels(
            {name: _faster(self.of.get(name), other.of.get(name)) for name in names},
            min(self.layer_s, other.layer_s),
            min(self.step_s, other.step_s),
        )


def _faster(one: Kernel | None, other: Kernel | None) -> Kernel:
    if one is None or other is None:
        found = one or other
        assert found is not None
        return found
    return Kernel(
        *(max(pair) for pair in zip(vars(one).values(), vars(other).values(), strict=True))
    )


def as_object(kernels: Kernels) -> dict[str, Any]:
    """For JSON; `from_object` reads it."""
    return asdict(kernels)


def from_object(found: Any) -> Kernels | None:
    """None for anything damaged, or without a single kernel."""
    if not isinstance(found, dict) or not isinstance(found.get("of"), dict):
        return None
    kernels = {str(name): _kernel(rates) for name, rates in found["of"].items()}
    whole = {name: kernel for name, kernel in kernels.items() if kernel is not None}
    overheads = [_amount(found.get(name)) for name in ("layer_s", "step_s")]
    if not whole or None in overheads:
        return None
    return Kernels(whole, overheads[0] or 0.0, overheads[1] or 0.0)


def _kernel(found: Any) -> Kernel | None:
    if not isinstance(found, dict):
        return None
    read, ops, repack = (
        _amount(found.get(name)) for name in ("read_bytes_per_s", "ops_per_s", "repack_bytes_per_s")
    )
    return Kernel(read, ops, repack or 0.0) if read and ops else None


def _amount(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) and value >= 0 else None
