"""Owns writing an INT8 checkpoint: a folder that transformers loads through compressed-tensors.

One tensor is in memory at a time; a killed job resumes after the last tensor on the disk. It does
not know how ranges are chosen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.formats.compressed_tensors import (
    INPUT_SCALE,
    INPUT_ZERO_POINT,
    PARTS,
    SCALE,
    ZERO_POINT,
)
from ingle.formats.convert.folder import WEIGHTS, copy_companions
from ingle.formats.writer import TensorSpec, write_safetensors
from ingle.numerics import FORMATS, encode
from ingle.quantize.int8.plan import EXPERTS, Plan, input_range

_ROUTERS = (".router.weight", ".mlp.gate.weight")


def write_int8(
    plan: Plan, target: Path, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write the folder `target` and return its file of weights. Raises IngleError."""
    source = plan.source.path if plan.source.path.is_dir() else plan.source.path.parent
    if target.exists() and not target.is_dir():
        raise IngleError(str(target), "target must be a folder, but got a file")
    if target.resolve() == source.resolve():
        raise IngleError(str(target), "target must be another folder than the source")
    target.mkdir(parents=True, exist_ok=True)
    job = json.dumps([str(source.resolve()), asdict(plan.scheme), [asdict(x) for x in plan.layers]])
    path = target / WEIGHTS
    pieces = _Pieces(plan)
    specs = list(_specs(plan))
    write_safetensors(path, {"format": "pt"}, specs, pieces.read, job=job, progress=progress)
    copy_companions(source, target)
    config = {**plan.facts.config, "quantization_config": plan.scheme.config(_ignored(plan))}
    aside = target / "config.json.part"
    aside.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    aside.replace(target / "config.json")
    return path


def _ignored(plan: Plan) -> list[str]:
    """Linear layers that stay: the head, routers, experts, and those kept; names of modules, or
    patterns of them."""
    tensors = plan.source.tensors
    routers = [name.removesuffix(".weight") for name in tensors if name.endswith(_ROUTERS)]
    experts = [f"re:.*{re.escape(EXPERTS)}.*"] if any(EXPERTS in name for name in tensors) else []
    kept = [layer.module for layer in plan.layers if layer.keep]
    return ["lm_head", *routers, *experts, *kept]


def _specs(plan: Plan) -> Iterator[TensorSpec]:
    rounded = {layer.name for layer in plan.rounded}
    scheme = plan.scheme
    for name, info in plan.source.tensors.items():
        if name not in rounded:
            yield TensorSpec(name, info.format, info.shape)
            continue
        rows, columns = info.shape
        groups = columns // (scheme.group or columns)
        stem = name.removesuffix("weight")
        yield TensorSpec(name, "I8", info.shape)
        yield TensorSpec(stem + SCALE, info.format, (rows, groups))
        if not scheme.symmetric:
            yield TensorSpec(stem + ZERO_POINT, "I8", (rows, groups))
        if scheme.activations == "static":
            yield TensorSpec(stem + INPUT_SCALE, info.format, (1,))
            if not scheme.activations_symmetric:
                yield TensorSpec(stem + INPUT_ZERO_POINT, "I8", (1,))


class _Pieces:
    """Bytes of the tensors to write; what belongs to one weight is computed once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rounded = {layer.name for layer in plan.rounded}
        self._held: tuple[str, dict[str, NDArray[Any]]] = ("", {})

    def read(self, name: str) -> NDArray[Any]:
        """One tensor."""
        stem, _, part = name.rpartition(".")
        weight = f"{stem}.weight"
        if weight not in self._rounded or part not in ("weight", *PARTS):
            return self._plan.source.read(name)
        if self._held[0] != weight:
            self._held = (weight, self._parts(weight))
        return self._held[1][part]

    def _parts(self, name: str) -> dict[str, NDArray[Any]]:
        plan = self._plan
        fmt = FORMATS[plan.source.tensors[name].format]
        codes, scale, zero = plan.codes(name)
        parts: dict[str, NDArray[Any]] = {
            "weight": codes.view(np.uint8),
            SCALE: encode(fmt, scale),
            ZERO_POINT: zero.astype(np.int8).view(np.uint8),
        }
        if plan.scheme.activations == "static":
            scale_in, zero_in = input_range(plan, name)
            parts[INPUT_SCALE] = encode(fmt, np.full(1, scale_in, np.float32))
            parts[INPUT_ZERO_POINT] = np.full(1, zero_in).astype(np.int8).view(np.uint8)
        return parts
