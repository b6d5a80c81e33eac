"""Owns a quantization from start to end: source, assignment, encoding, the journaled file.

Memory stays at a few pieces of one tensor, and a killed job resumes to the same bytes. It does not
know how types are chosen nor how blocks are encoded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.formats.convert import GgufModel, as_gguf
from ingle.formats.convert.lazy import LazyTensor
from ingle.formats.gguf_values import Typed
from ingle.formats.mapping import quoted
from ingle.formats.writer import Progress, TensorSpec, write_gguf
from ingle.numerics import FORMATS
from ingle.quantize.encode import decode_rows, encode_rows
from ingle.quantize.imatrix import Imatrix
from ingle.quantize.mixture import MIXTURES
from ingle.quantize.recipe import Assignment, Recipe, Subject, assign

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

PIECE_WEIGHTS = 1 << 22  # decoded at a time: 16 MiB
_U32 = 4
METHODS = ("ggml", "search", "gptq")


class RoundingMethod(Protocol):
    """Something that encodes whole matrices knowing more than importance (GPTQ)."""

    identity: str

    def knows(self, name: str) -> bool:
        """Whether it can encode this tensor."""

    def encode(self, name: str, matrix: int, weights: Floats, format_name: str) -> Bytes:
        """Encoded rows of one matrix of a tensor, (rows, columns)."""


@dataclass(frozen=True)
class Plan:
    """A quantization decided and not begun: what `--dry-run` shows."""

    model: GgufModel
    recipe: Recipe
    assignments: Sequence[Assignment]
    imatrix: Imatrix | None
    method: str

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(assignment.nbytes for assignment in self.assignments)

    @property
    def num_weights(self) -> int:
        """Elements of all tensors."""
        return sum(assignment.num_weights for assignment in self.assignments)


def plan(
    source: str | Path,
    recipe: Recipe,
    imatrix: Imatrix | None = None,
    method: str = "ggml",
) -> Plan:
    """Decide every tensor's type. Raises IngleError for sources and types that do not fit."""
    if method not in METHODS:
        raise IngleError("--method", f"method must be one of {', '.join(METHODS)}, not {method}")
    model = as_gguf(source)
    assignments = assign(recipe, subject_of(model), imatrix is not None)
    for assignment in assignments:
        if not assignment.is_copied and assignment.source not in FORMATS:
            rule = f"format must be one that ingle reads, but got {assignment.source}"
            raise IngleError(f"tensor {quoted(assignment.name)}", rule)
    return Plan(model, recipe, assignments, imatrix, method)


def subject_of(model: GgufModel) -> Subject:
    """What the recipe has to know of a model."""
    sizes = model.facts.sizes
    heads, kv_heads = sizes.get("num_attention_heads", 1), sizes.get("num_key_value_heads", 0)
    return Subject(
        {name: (tensor.format, tensor.shape) for name, tensor in model.tensors.items()},
        heads // kv_heads if kv_heads else 1,
        sizes.get("num_local_experts", 0),
    )


def quantize(
    planned: Plan,
    target: str | Path,
    *,
    threads: int = 1,
    rounding: RoundingMethod | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the planned file to `target`; what was interrupted continues.

    rounding: encodes the tensors it knows when the method is gptq. Raises IngleError when the
    target exists, the disk is too small or a tensor cannot be encoded.
    """
    target = Path(target)
    if target.exists():
        rule = "target must not exist yet, but got one that does"
        raise IngleError(str(target), rule, "name another place")
    order = sorted(planned.assignments, key=_after_its_layer) if rounding else planned.assignments
    by_name = {assignment.name: assignment for assignment in order}
    specs = [TensorSpec(a.name, a.target, a.shape) for a in order]

    def read(name: str) -> Iterator[Bytes]:
        yield from _encoded(planned, by_name[name], threads, rounding)
        planned.model.container.release()

    job = identity(planned, rounding)
    write_gguf(target, _metadata(planned), specs, read, job=job, progress=progress)
    return target


def _after_its_layer(assignment: Assignment) -> tuple[int, int]:
    """Tensors in the order in which a pass through the model meets them; tables come last."""
    name = assignment.name
    layer = int(name.split(".")[1]) if name.startswith("blk.") else 1 << 30
    return layer, 0


def _encoded(
    planned: Plan, assignment: Assignment, threads: int, rounding: RoundingMethod | None
) -> Iterator[Bytes]:
    tensor = planned.model.tensors[assignment.name]
    if assignment.is_copied:
        yield from tensor.pieces()
        return
    encode = encoder(planned, assignment, threads)
    whole = rounding is not None and rounding.knows(assignment.name)
    for matrix, weights in decoded(tensor, whole):
        if whole and rounding is not None:
            yield rounding.encode(assignment.name, matrix, weights, assignment.target)
            continue
        yield encode(weights, matrix)


def encoder(planned: Plan, assignment: Assignment, threads: int) -> Callable[[Floats, int], Bytes]:
    """What rounds rows of a matrix, (rows, columns) and the matrix's number, to encoded rows."""
    importance = _importance(planned, assignment)

    def encode(weights: Floats, matrix: int) -> Bytes:
        return encode_rows(
            assignment.target,
            weights,
            None if importance is None else importance[matrix],
            search=planned.method != "ggml",
            threads=threads,
            where=f"tensor {quoted(assignment.name)}",
        )

    return encode


def _importance(planned: Plan, assignment: Assignment) -> Floats | None:
    """What the imatrix says of a matrix's columns, (matrices, columns), if there is one.

    llama.cpp ignores what it says of the embedding: one row of it is one token.
    """
    if planned.imatrix is None or len(assignment.shape) < 2:
        return None
    if assignment.name == "token_embd.weight":
        return None
    return planned.imatrix.importance(assignment.name, assignment.shape)


def decoded(tensor: LazyTensor, whole: bool = False) -> Iterator[tuple[int, Floats]]:
    """(matrix, float32 (rows, columns)) in order: pieces of a dense weight, experts one by one.

    whole: a dense weight in one piece.
    """
    columns = tensor.shape[-1]
    if len(tensor.shape) == 3:
        for expert in range(tensor.shape[0]):
            yield expert, _floats(tensor, expert, expert + 1).reshape(-1, columns)
        return
    step = tensor.shape[0] if whole else max(1, PIECE_WEIGHTS // columns)
    for first in range(0, tensor.shape[0], step):
        yield 0, _floats(tensor, first, min(first + step, tensor.shape[0]))


def _floats(tensor: LazyTensor, first: int, last: int) -> Floats:
    stored = tensor.rows(first, last)
    return decode_rows(tensor.format, stored.reshape(-1, stored.shape[-1]))


def _metadata(planned: Plan) -> dict[str, Any]:
    """The source's, with what has changed; keys of split files are dropped."""
    metadata = {
        key: value
        for key, value in planned.model.metadata.items()
        if not key.startswith(("split.", "quantize.imatrix."))
    }
    metadata["general.quantization_version"] = 2
    metadata["general.file_type"] = MIXTURES[planned.recipe.mixture][1]
    if planned.imatrix is not None:
        used = planned.imatrix
        metadata["quantize.imatrix.file"] = "imatrix"
        metadata["quantize.imatrix.dataset"] = (used.datasets or ("unknown",))[0][:127]
        metadata["quantize.imatrix.entries_count"] = Typed(len(used.entries), _U32)
        metadata["quantize.imatrix.chunks_count"] = Typed(used.num_chunks, _U32)
    return metadata


def identity(planned: Plan, rounding: RoundingMethod | None) -> str:
    """Everything beside the header that decides the bytes."""
    digest = hashlib.sha256()
    if planned.imatrix is not None:
        for name in sorted(planned.imatrix.entries):
            entry = planned.imatrix.entries[name]
            for array in (entry.sums, entry.counts):
                digest.update(np.ascontiguousarray(array).data)
    parts = [planned.model.identity, planned.method, digest.hexdigest()]
    return json.dumps([*parts, rounding.identity if rounding else ""])
