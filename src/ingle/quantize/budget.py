"""Owns fitting a model into a size: which tensor deserves more bits, by what its rounding costs.

The cost of a type is the importance-weighted error of a sample of a tensor's rows, as a share of
their weighted energy: the noise that the matrix adds to its output. Bits go where a byte lowers it
most. It does not know files nor how tables are shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.formats.convert.lazy import LazyTensor
from ingle.numerics import FORMATS
from ingle.quantize.encode import decode_rows, encode_rows
from ingle.quantize.imatrix import Imatrix
from ingle.quantize.job import Plan
from ingle.quantize.mixture import is_candidate
from ingle.quantize.recipe import Assignment

Floats = NDArray[np.float32]

# Tried for every tensor, where their blocks fill its rows; types dominated by others drop out.
LADDER = ("Q2_K", "Q3_K", "IQ4_XS", "IQ4_NL", "Q4_K", "Q5_K", "Q5_1", "Q6_K", "Q8_0")
_SAMPLE_ROWS = 48
_SIZE = re.compile(r"([0-9.]+)\s*([KMGT]?)(I?)B?", re.IGNORECASE)


@dataclass(frozen=True)
class Rung:
    """A type for a tensor, the bytes it takes, and its error as a share of the output's energy."""

    type: str
    nbytes: int
    error: float


def size_bytes(text: str) -> int:
    """``11GiB``, ``11.5 GB``, ``900M`` or a number of bytes. IngleError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    try:
        number = float(match[1]) if match else -1.0
    except ValueError:
        number = -1.0
    if match is None or not 0 < number < 1e18:
        raise IngleError("--target-size", f"size must be like 11GiB or 900MB, but got {text!a:.40}")
    power = " KMGT".index(match[2].upper() or " ")
    return int(number * (1024 if match[3] else 1000) ** power)


def fit(planned: Plan, limit_bytes: int) -> Plan:
    """The plan with types chosen so that all tensors together take at most `limit_bytes`.

    Tensors that the recipe names a type for, and those that are kept, stay as they are. IngleError
    says the least size possible when the limit is below it.
    """
    free = [a for a in planned.assignments if _is_free(a)]
    ladders = {a.name: rungs(planned, a) for a in free}
    chosen = dict.fromkeys(ladders, 0)
    fixed = planned.nbytes - sum(a.nbytes for a in free)
    total = fixed + sum(ladder[0].nbytes for ladder in ladders.values())
    if total > limit_bytes:
        rule = f"size must be at least {total:,} bytes for this recipe, but got {limit_bytes:,}"
        raise IngleError("--target-size", rule, "name smaller types: --tensor-type REGEX=TYPE")
    for name, index in _upgrades(ladders):
        step = ladders[name][index].nbytes - ladders[name][chosen[name]].nbytes
        if index > chosen[name] and total + step <= limit_bytes:
            chosen[name], total = index, total + step
    why = "by its sensitivity"
    found = [
        replace(a, target=ladders[a.name][chosen[a.name]].type, why=why) if a.name in chosen else a
        for a in planned.assignments
    ]
    return replace(planned, assignments=found)


def rungs(planned: Plan, assignment: Assignment) -> Sequence[Rung]:
    """Types for a tensor from small to large, each one better than all smaller ones."""
    tensor = planned.model.tensors[assignment.name]
    rows, importance = _sample(tensor, planned.imatrix, assignment)
    energy = float(np.sum(importance * np.square(rows, dtype=np.float64))) or 1.0
    found: list[Rung] = []
    fitting = (name for name in LADDER if assignment.shape[-1] % FORMATS[name].block == 0)
    sized = ((replace(assignment, target=name).nbytes, name) for name in fitting)
    for nbytes, name in sorted(sized):
        encoded = encode_rows(name, rows, importance, search=True)
        wrong = np.square(decode_rows(name, encoded) - rows, dtype=np.float64)
        error = float(np.sum(importance * wrong)) / energy
        if found and error >= found[-1].error:
            continue
        if found and nbytes == found[-1].nbytes:
            found.pop()
        found.append(Rung(name, nbytes, error))
    if not found:
        rule = f"rows of {assignment.shape[-1]} must be whole blocks of 32, but are not"
        raise IngleError(assignment.name, rule, "name a type: --tensor-type REGEX=F16")
    return found


def _is_free(assignment: Assignment) -> bool:
    named = assignment.why.startswith(("--", "kept"))
    return is_candidate(assignment.name, assignment.shape) and not named


def _sample(
    tensor: LazyTensor, imatrix: Imatrix | None, assignment: Assignment
) -> tuple[Floats, Floats]:
    """Rows spread over the tensor (of one expert), and what their columns weigh."""
    weights = imatrix.importance(assignment.name, assignment.shape) if imatrix else None
    columns = assignment.shape[-1]
    expert = tensor.shape[0] // 2 if len(tensor.shape) == 3 else 0
    importance = np.ones(columns, np.float32) if weights is None else weights[expert]
    if len(tensor.shape) == 3:
        stored = tensor.rows(expert, expert + 1)[0]
        stored = stored[:: max(1, len(stored) // _SAMPLE_ROWS)][:_SAMPLE_ROWS]
    else:
        step = max(1, tensor.shape[0] // _SAMPLE_ROWS)
        starts = range(0, tensor.shape[0], step)
        stored = np.concatenate([tensor.rows(i, i + 1) for i in starts[:_SAMPLE_ROWS]])
    floor = float(importance.mean()) * 1e-6  # columns that saw nothing still count a little
    return decode_rows(tensor.format, np.ascontiguousarray(stored)), np.maximum(importance, floor)


def _upgrades(ladders: dict[str, Sequence[Rung]]) -> Iterator[tuple[str, int]]:
    """Steps up the ladders, those first that lower the error most per byte.

    A step leads along the lower convex hull of a ladder, so that gains per byte fall as it rises.
    """
    steps = []
    for name, ladder in ladders.items():
        at = 0
        while at + 1 < len(ladder):
            gains = [
                ((ladder[at].error - up.error) / (up.nbytes - ladder[at].nbytes), index)
                for index, up in enumerate(ladder[at + 1 :], at + 1)
            ]
            gain, at = max(gains)
            steps.append((gain, name, at))
    steps.sort(key=lambda step: (-step[0], step[1], step[2]))
    return ((name, index) for _, name, index in steps)
