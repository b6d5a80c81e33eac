"""Owns quantizing into a folder of safetensors that transformers loads: floats, and the experts of
gpt-oss in MXFP4.

Tensors are encoded while they are written, a piece at a time. It does not know names in folders.
(8-bit integers have a job of their own: `int8`.)
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from ingle.errors import IngleError, UnsupportedError
from ingle.formats.convert import write_huggingface
from ingle.formats.convert.lazy import LazyTensor, narrowed
from ingle.formats.mapping import Bytes, quoted
from ingle.formats.writer import Progress
from ingle.quantize.encode import decode_rows
from ingle.quantize.job import Plan, encoder, identity
from ingle.quantize.mixture import MIXTURES, is_candidate
from ingle.quantize.recipe import Assignment, Recipe, named_type

FLOATS = ("F32", "F16", "BF16")
_MIXTURES = (*FLOATS, "MXFP4_MOE")
_EXPERTS = "_exps.weight"
_HINT = "name a target that ends in .gguf for GGUF's types"


def is_folder(target: str | Path) -> bool:
    """Whether a target names a folder: whatever does not end in .gguf."""
    return Path(target).suffix.lower() != ".gguf"


def require_folder(recipe: Recipe, method: str) -> None:
    """IngleError for a recipe, or a method of rounding, that writes GGUF alone."""
    if recipe.mixture not in _MIXTURES:
        rule = f"a folder of safetensors must be of {', '.join(FLOATS)}, MXFP4 or INT8"
        raise IngleError("TYPE", f"{rule}, but got {recipe.mixture}", _HINT)
    if method == "gptq":
        rule = "gptq must write GGUF, but got a folder"
        hint = "quantize to FILE.gguf, then: ingle convert FILE.gguf FOLDER"
        raise IngleError("--method", rule, hint)


def for_folder(planned: Plan) -> Plan:
    """The plan with types that a folder can hold. Raises IngleError for a recipe with others."""
    recipe = planned.recipe
    require_folder(recipe, planned.method)
    keeps_experts = planned.model.facts.architecture == "gpt_oss"
    found = [_assigned(recipe, a, keeps_experts) for a in planned.assignments]
    return replace(planned, assignments=found)


def quantize_folder(
    planned: Plan, target: str | Path, *, threads: int = 1, progress: Progress | None = None
) -> Path:
    """Write the planned folder; returns its file of weights. What was interrupted continues.

    Raises IngleError when the target has weights already, the disk is too small or a tensor cannot
    be encoded.
    """
    tensors = {a.name: _encoded(planned, a, threads) for a in planned.assignments}
    types = [[a.name, a.target] for a in planned.assignments]
    job = json.dumps([identity(planned, None), types])
    return write_huggingface(planned.model, tensors, Path(target), job=job, progress=progress)


def _assigned(recipe: Recipe, a: Assignment, keeps_experts: bool) -> Assignment:
    kept = replace(a, target=a.source, why="")
    is_expert = a.name.endswith(_EXPERTS)
    if not is_candidate(a.name, a.shape):
        return kept if a.source in FLOATS else _as_float(kept)
    named = named_type(recipe, a.name)
    if named is not None:
        wanted, why = named
    elif is_expert and a.source == "MXFP4" and recipe.keep_mxfp4:
        return replace(kept, why="kept: the model was trained in MXFP4")
    elif recipe.mixture == "MXFP4_MOE" and not is_expert:
        return kept if a.source in FLOATS else _as_float(kept)
    else:
        wanted, why = MIXTURES[recipe.mixture][0], ""
    if wanted not in FLOATS and not (wanted == "MXFP4" and is_expert and keeps_experts):
        rule = f"types of a folder must be {', '.join(FLOATS)}, or MXFP4 for experts of gpt-oss"
        raise UnsupportedError(quoted(a.name), f"{rule}, but got {wanted}", _HINT)
    return replace(kept, target=wanted, why=why)


def _as_float(kept: Assignment) -> Assignment:
    """What has no form in safetensors becomes BF16, and the table says so."""
    return replace(kept, target="BF16", why=f"{kept.source} -> BF16: safetensors has no such type")


def _encoded(planned: Plan, a: Assignment, threads: int) -> LazyTensor:
    """The tensor in its new type, computed piece by piece."""
    tensor = planned.model.tensors[a.name]
    if a.is_copied:
        return tensor if is_candidate(a.name, a.shape) else narrowed(tensor)
    encode = encoder(planned, a, threads)

    def rows(first: int, last: int) -> Bytes:
        stored = tensor.rows(first, last)
        weights = decode_rows(tensor.format, stored.reshape(-1, stored.shape[-1]))
        if len(a.shape) == 2:
            return encode(weights, 0)
        matrices = weights.reshape(last - first, -1, a.shape[-1])
        return np.stack([encode(matrix, index) for index, matrix in enumerate(matrices, first)])

    return LazyTensor(a.name, a.target, a.shape, rows)
