"""Owns deciding what an INT8 checkpoint holds: which layers are rounded, and how much each suffers.

It does not know how checkpoints are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingle.errors import IngleError, UnsupportedError
from ingle.formats import SafetensorsFile
from ingle.formats.facts import ModelFacts, open_model
from ingle.numerics import FORMATS, decode, encode
from ingle.numerics.int8_inputs import InputRounding
from ingle.quantize.int8.codes import parameters, quantized
from ingle.quantize.int8.observer import Observer
from ingle.quantize.int8.scheme import Scheme

Floats = NDArray[np.float32]

_FLOATS = ("F32", "F16", "BF16")
_PROJECTION = "_proj.weight"
EXPERTS = ".experts."  # within names of what is one of a stack


@dataclass(frozen=True)
class Layer:
    """A weight to round. snr_db: 10 log10 of its outputs' energy over that of their error, None
    without calibration. keep: whether it stays as it is, because of its error or by wish."""

    name: str
    snr_db: float | None = None
    keep: bool = False

    @property
    def module(self) -> str:
        """As transformers calls it."""
        return self.name.removesuffix(".weight")


@dataclass(frozen=True)
class Plan:
    """A checkpoint to be made. observers: what calibration saw, by weight."""

    source: SafetensorsFile
    facts: ModelFacts
    scheme: Scheme
    layers: tuple[Layer, ...]
    observers: Mapping[str, Observer]

    @property
    def rounded(self) -> list[Layer]:
        """Layers that become INT8."""
        return [layer for layer in self.layers if not layer.keep]

    def weight(self, name: str) -> Floats:
        """A weight as floats (rows, columns)."""
        info = self.source.tensors[name]
        return np.ascontiguousarray(decode(FORMATS[info.format], self.source.read(name)))

    def codes(self, name: str) -> tuple[NDArray[np.int8], Floats, Floats]:
        """Codes (rows, columns), scales and zero points (rows, groups) of a weight.

        The scale is rounded to the weight's own number format first, for so it is stored.
        """
        weight = self.weight(name)
        rows, columns = weight.shape
        group = self.scheme.group or columns
        if columns % group:
            raise IngleError(
                "group", f"it must divide the {columns} columns of {name}", "choose another"
            )
        grouped = weight.reshape(-1, group)
        scale, zero = parameters(
            grouped,
            self.scheme.symmetric,
            self.scheme.calibration,
            self._importance(name, rows, group),
        )
        fmt = FORMATS[self.source.tensors[name].format]
        scale = decode(fmt, encode(fmt, scale))
        codes = quantized(grouped, scale, zero).reshape(weight.shape)
        return codes, scale.reshape(rows, -1), zero.reshape(rows, -1)

    def _importance(self, name: str, rows: int, group: int) -> Floats | None:
        observer = self.observers.get(name)
        if observer is None:
            return None
        repeated: Floats = np.tile(observer.importance.reshape(-1, group), (rows, 1))
        return repeated


def make_plan(
    path: Path, scheme: Scheme, observers: Mapping[str, Observer], ignored: tuple[str, ...] = ()
) -> Plan:
    """Every projection of every layer; embeddings, head, norms, routers and experts stay.

    Raises UnsupportedError for what has none, or is no checkpoint in Hugging Face's layout.
    """
    source, facts = open_model(path)
    if not isinstance(source, SafetensorsFile) or facts.layout != "Hugging Face":
        rule = "source must be a folder in Hugging Face's layout, but got another"
        raise UnsupportedError(str(path), rule, "ingle quantize SRC FOLDER BF16 makes one")
    if facts.quantization:
        rule = f"source must hold plain floats, but it is {facts.quantization!a:.40}"
        raise UnsupportedError(str(path), rule, "start from the BF16 checkpoint")
    layers = tuple(
        Layer(name, keep=any(name.startswith(prefix) for prefix in ignored))
        for name, info in source.tensors.items()
        if name.endswith(_PROJECTION) and EXPERTS not in name
        if len(info.shape) == 2 and info.format in _FLOATS
    )
    if not layers:
        rule = f"there must be linear layers named *{_PROJECTION}, but got none"
        raise UnsupportedError(str(path), rule)
    if scheme.activations == "static":
        _require_observed(layers, observers)
    return Plan(source, facts, scheme, layers, observers)


def scanned(plan: Plan, keep_below_db: float | None) -> Plan:
    """The plan with the error of each layer measured on calibration rows.

    keep_below_db: layers whose outputs are worse than this stay as they are.
    """
    measured = [_measured(plan, layer) for layer in plan.layers]
    if keep_below_db is not None:
        measured = [
            replace(one, keep=one.keep or (one.snr_db is not None and one.snr_db < keep_below_db))
            for one in measured
        ]
    return replace(plan, layers=tuple(measured))


def _measured(plan: Plan, layer: Layer) -> Layer:
    observer = plan.observers.get(layer.name)
    if observer is None:
        return layer
    weight, x = plan.weight(layer.name), observer.rows
    codes, scale, zero = plan.codes(layer.name)
    grouped = codes.reshape(*scale.shape, -1).astype(np.float32)
    restored = ((grouped - zero[..., None]) * scale[..., None]).reshape(weight.shape)
    rounding = _rounding(plan, layer.name)
    right = x @ weight.T
    wrong = (x if rounding is None else rounding.apply(x)) @ restored.T - right
    energy = float(np.square(right, dtype=np.float64).sum())
    lost = float(np.square(wrong, dtype=np.float64).sum())
    return replace(layer, snr_db=float(10 * np.log10(max(energy, 1e-30) / max(lost, 1e-30))))


def _rounding(plan: Plan, name: str) -> InputRounding | None:
    """What the scheme does to a layer's inputs."""
    scheme = plan.scheme
    if scheme.activations == "none":
        return None
    if scheme.activations == "dynamic":
        return InputRounding(True, scheme.activations_symmetric)
    return InputRounding(False, scheme.activations_symmetric, *input_range(plan, name))


def input_range(plan: Plan, name: str) -> tuple[float, float]:
    """Scale, as it is stored, and zero point of a layer's inputs."""
    scale, zero = plan.observers[name].parameters(
        plan.scheme.activations_symmetric, plan.scheme.calibration
    )
    fmt = FORMATS[plan.source.tensors[name].format]
    stored = decode(fmt, encode(fmt, np.full((1, 1), scale, np.float32)))
    return float(stored[0, 0]), zero


def _require_observed(layers: tuple[Layer, ...], observers: Mapping[str, Observer]) -> None:
    missing = [layer.name for layer in layers if not layer.keep and layer.name not in observers]
    if missing:
        rule = f"static ranges need text that reaches {missing[0]}, but calibration saw none"
        raise IngleError("activations", rule, "say --text FILE")
