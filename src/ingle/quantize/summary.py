"""Owns the table that is shown before any work: tensors of one kind together, and their true size.

It does not know how the table is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingle.numerics import FORMATS
from ingle.quantize.job import Plan
from ingle.quantize.recipe import Assignment

_LAYER = re.compile(r"^blk\.\d+\.")
# What people take a type's bits to be; the true ones count scales and what stays at more bits.
_NOMINAL = re.compile(r"\d+")


@dataclass(frozen=True)
class Group:
    """Tensors that differ in their layer only, from one format to another for one reason."""

    label: str
    source: str
    target: str
    why: str
    assignments: Sequence[Assignment]

    @property
    def count(self) -> int:
        """Tensors of the group."""
        return len(self.assignments)

    @property
    def nbytes(self) -> int:
        """Bytes of them all."""
        return sum(a.nbytes for a in self.assignments)

    @property
    def num_weights(self) -> int:
        """Elements of them all."""
        return sum(a.num_weights for a in self.assignments)

    @property
    def true_bits(self) -> float:
        """Stored bits per weight, scales included."""
        return 8 * self.nbytes / max(1, self.num_weights)

    @property
    def nominal_bits(self) -> int:
        """Bits that the type's name speaks of."""
        found = _NOMINAL.search(self.target)
        return int(found[0]) if found else round(FORMATS[self.target].bits_per_weight)


def groups(assignments: Sequence[Assignment]) -> Iterator[Group]:
    """Groups in the order of their first tensors; vectors are one group."""
    members: dict[tuple[str, str, str, str], list[Assignment]] = {}
    for a in assignments:
        label = _LAYER.sub("", a.name) if len(a.shape) > 1 else "vectors"
        members.setdefault((label, a.source, a.target, a.why), []).append(a)
    for (label, source, target, why), found in members.items():
        yield Group(label, source, target, why, found)


def read_bytes(planned: Plan, assignment: Assignment) -> float:
    """Bytes of a tensor that making one token reads: no idle experts, and one row of a table."""
    sizes = planned.model.facts.sizes
    experts, used = sizes.get("num_local_experts", 0), sizes.get("num_experts_per_tok", 0)
    tied = "output.weight" not in planned.model.tensors
    if assignment.name == "token_embd.weight" and not tied:
        return assignment.nbytes / max(1, assignment.shape[0])
    if "_exps." in assignment.name and experts:
        return assignment.nbytes * used / experts
    return assignment.nbytes
