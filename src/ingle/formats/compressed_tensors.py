"""Owns reading INT8 checkpoints of the compressed-tensors form.

A weight `NAME` of int8 codes (rows, columns) has `NAME_scale` (rows, groups) beside it and, where
it is not symmetric, `NAME_zero_point`; its value is (code - zero point) * scale. Symmetric weights
with a scale per row are shown as INT8 blocks, others as floats. It does not know models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats.container import TensorInfo
from ingle.formats.mapping import Bytes, quoted
from ingle.formats.safetensors import SafetensorsFile
from ingle.numerics import FORMATS, decode
from ingle.numerics.int8_blocks import INT8, joined
from ingle.numerics.int8_inputs import InputRounding

METHOD = "compressed-tensors"
SCALE, ZERO_POINT, INPUT_SCALE, INPUT_ZERO_POINT = (
    "weight_scale",
    "weight_zero_point",
    "input_scale",
    "input_zero_point",
)
_FORMATS = ("int-quantized", "naive-quantized")
PARTS = (SCALE, ZERO_POINT, INPUT_SCALE, INPUT_ZERO_POINT)
_FLOATS = ("F32", "F16", "BF16")
_MOST_SCALE = float(np.finfo(np.float32).max) / 2  # kernels take twice a scale too


@dataclass(frozen=True)
class Int8Config:
    """What config.json says. activations: "none", "dynamic" (per token) or "static"; symmetric
    tells of them. group: columns per scale, None for a row."""

    activations: str
    symmetric: bool
    group: int | None


def read_config(config: Mapping[str, Any], where: str) -> Int8Config:
    """Of a `quantization_config`; UnsupportedError for anything but 8-bit integers."""
    form = config.get("format")
    groups = config.get("config_groups")
    if form not in _FORMATS or not isinstance(groups, dict) or len(groups) != 1:
        rule = f"format must be one of {', '.join(_FORMATS)} in one group, but got {form!a:.40}"
        raise UnsupportedError(where, rule)
    (group,) = groups.values()
    weights = _arguments(group, "weights", where)
    inputs = _arguments(group, "input_activations", where)
    if weights is None:
        raise UnsupportedError(where, "weights must be 8-bit integers, but got none")
    if group.get("output_activations") is not None:
        raise UnsupportedError(where, "outputs must stay floats, but output_activations round them")
    activations = "none" if inputs is None else _when(inputs, where)
    size = weights.get("group_size")
    grouped = weights.get("strategy") == "group"
    if grouped and not (isinstance(size, int) and size > 0):
        raise FileFormatError(where, f"group_size must be a count, but got {size!a:.40}")
    symmetric = inputs is None or bool(inputs.get("symmetric", True))
    return Int8Config(activations, symmetric, size if grouped else None)


class CompressedFile(SafetensorsFile):
    """An INT8 checkpoint that shows its weights as INT8 or F32; scales are not shown.

    config: how inputs are rounded; without one they are not.
    Raises FileFormatError when a scale is missing or has another shape.
    """

    def __init__(self, file: SafetensorsFile, config: Int8Config | None = None) -> None:
        self.path, self.metadata = file.path, file.metadata
        self._config = config
        self._file, self._stored = file, file.tensors
        shown: dict[str, TensorInfo] = {}
        for name, info in file.tensors.items():
            if name.rpartition(".")[2] in PARTS:
                continue
            shown[name] = self._widened(name, info) if info.format == "I8" else info
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(shown)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the model."""
        return self._file.files

    def release(self) -> None:
        """Let go of memory that was read so far."""
        self._file.release()

    @property
    def int8_names(self) -> list[str]:
        """Weights that are stored as 8-bit codes."""
        return [name for name in self.tensors if self._stored[name].format == "I8"]

    def read(self, name: str) -> Bytes:
        """As `SafetensorsFile.read`; codes and scales of INT8 weights are joined, or decoded."""
        info = self._stored.get(name)
        if info is None or info.format != "I8":
            return self._file.read(name)
        codes = self._file.read(name).view(np.int8)
        scale = self._values(name, SCALE)
        if self.tensors[name].format == INT8.name:
            return joined(codes, scale)
        out = np.empty(info.shape, np.float32)
        grouped = out.reshape(*scale.shape, -1)
        grouped[:] = codes.reshape(grouped.shape)
        if name.removesuffix("weight") + ZERO_POINT in self._stored:
            grouped -= self._zero_point(name, scale.shape)[..., None]
        grouped *= scale[..., None]
        return out.view(np.uint8)

    def rounding(self, name: str) -> InputRounding | None:
        """What the inputs of a weight go through first; None where they are not rounded."""
        config, info = self._config, self._stored.get(name)
        if config is None or config.activations == "none" or info is None or info.format != "I8":
            return None
        if config.activations == "dynamic":
            return InputRounding(True, config.symmetric)
        fixed = self.input_range(name.removesuffix(".weight"))
        if fixed is None or not 0 < fixed[0] <= _MOST_SCALE:
            rule = f"a static range must have a scale above 0 and up to {_MOST_SCALE:.4g}"
            raise FileFormatError(f"{self.path}: tensor {quoted(name)}", f"{rule}, but got {fixed}")
        return InputRounding(False, config.symmetric, *fixed)

    def input_range(self, module: str) -> tuple[float, float] | None:
        """(scale, zero point) of a module's inputs where they are fixed."""
        scale, zero = f"{module}.{INPUT_SCALE}", f"{module}.{INPUT_ZERO_POINT}"
        if scale not in self._stored:
            return None
        self._require_one(scale, _FLOATS)
        value = float(self._values(f"{module}.weight", INPUT_SCALE).reshape(-1)[0])
        if zero not in self._stored:
            return value, 0.0
        self._require_one(zero, ("I8",))
        return value, float(self._file.read(zero).view(np.int8).reshape(-1)[0])

    def _require_one(self, name: str, formats: tuple[str, ...]) -> None:
        info = self._stored[name]
        if info.format not in formats or info.num_elements != 1:
            rule = f"it must be one number in {' or '.join(formats)}"
            got = f"{info.format} {info.shape}"
            raise FileFormatError(f"{self.path}: tensor {quoted(name)}", f"{rule}, but got {got}")

    def _widened(self, name: str, info: TensorInfo) -> TensorInfo:
        scale = self._stored.get(name.removesuffix("weight") + SCALE)
        where = f"{self.path}: tensor {quoted(name)}"
        if not name.endswith(".weight") or scale is None or scale.format not in _FLOATS:
            raise FileFormatError(where, "INT8 weight must have a float scale, but got none")
        rows, columns = info.shape if len(info.shape) == 2 else (0, 0)
        groups = scale.shape[1] if len(scale.shape) == 2 else 0
        if not rows or scale.shape[0] != rows or not groups or columns % groups:
            rule = f"scales must be of whole groups of {info.shape}, but got {scale.shape}"
            raise FileFormatError(where, rule)
        whole = groups == 1 and columns % INT8.block == 0
        if whole and name.removesuffix("weight") + ZERO_POINT not in self._stored:
            row_bytes = INT8.row_bytes(columns)
            return replace(info, format=INT8.name, row_bytes=row_bytes, nbytes=rows * row_bytes)
        return replace(info, format="F32", row_bytes=4 * columns, nbytes=4 * info.num_elements)

    def _values(self, name: str, part: str) -> NDArray[np.float32]:
        stored = name.removesuffix("weight") + part
        info = self._stored[stored]
        raw = self._file.read(stored)
        values = decode(FORMATS[info.format], np.ascontiguousarray(raw)).reshape(info.shape)
        if not np.isfinite(values).all():
            raise FileFormatError(f"{self.path}: tensor {quoted(stored)}", "it must be finite")
        return values

    def _zero_point(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        stored = name.removesuffix("weight") + ZERO_POINT
        info = self._stored[stored]
        if info.format != "I8" or info.shape != shape:
            rule = f"zero points must be I8 {shape}, but got {info.format} {info.shape}"
            raise FileFormatError(f"{self.path}: tensor {quoted(stored)}", rule)
        return self._file.read(stored).view(np.int8).reshape(shape).astype(np.float32)


def _when(inputs: Mapping[str, Any], where: str) -> str:
    """Whether ranges of inputs are "dynamic" or "static"; UnsupportedError for any but a range per
    token, and one for all."""
    dynamic = inputs.get("dynamic", False)
    strategy = inputs.get("strategy")
    if strategy is None:  # as compressed-tensors takes what is left out
        strategy = "tensor" if inputs.get("group_size") is None else "group"
    if dynamic is True and strategy == "token":
        return "dynamic"
    if dynamic is False and strategy == "tensor":
        return "static"
    rule = "inputs must be rounded with dynamic true by token, or with dynamic false by tensor"
    raise UnsupportedError(where, f"{rule}, but got dynamic {dynamic!a:.40} by {strategy!a:.40}")


def _arguments(group: Any, name: str, where: str) -> Mapping[str, Any] | None:
    found = group.get(name) if isinstance(group, dict) else None
    if found is None:
        return None
    if not isinstance(found, dict) or (found.get("num_bits"), found.get("type")) != (8, "int"):
        raise UnsupportedError(where, f"{name} must be 8-bit integers, but got others")
    return found
