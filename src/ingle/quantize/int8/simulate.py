"""Owns running a model with its linear layers' inputs rounded to 8 bits, as W8A8 kernels would.

It is the reference backend with a stay in 8 bits before each layer that the checkpoint quantizes;
sums are in float. It does not know how ranges were found.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingle.backends.reference import ReferenceBackend
from ingle.backends.reference.forward import ReferenceOps
from ingle.formats import SafetensorsFile
from ingle.formats.compressed_tensors import METHOD, CompressedFile, Int8Config, read_config
from ingle.formats.facts import open_model
from ingle.ops import Batch, KvLayout, Linear, Model
from ingle.ops.capture import Capture
from ingle.ops.protocol import run_model
from ingle.quantize.int8.codes import parameters, rounded

Floats = NDArray[np.float32]
Report = Callable[[str, Floats, NDArray[np.intp] | None], None]


def round_inputs(x: Floats, config: Int8Config, fixed: tuple[float, float] | None) -> Floats:
    """x as the layer sees it: by the range of each row, or by a fixed scale and zero point."""
    if config.activations == "none":
        return x
    if config.activations == "dynamic":
        return rounded(x, *parameters(x, config.symmetric, "minmax"))
    assert fixed is not None
    scale, zero = (np.full((1, 1), value, np.float32) for value in fixed)
    return rounded(x, scale, zero)


class _Rounding(Capture):  # type: ignore[type-arg]
    """Linear layers of the checkpoint's int8 weights get rounded inputs."""

    def __init__(
        self, inner: ReferenceOps, quantized: dict[str, tuple[float, float] | None], c: Int8Config
    ) -> None:
        super().__init__(inner, lambda name, x, experts: None)
        self._quantized, self._config = quantized, c

    def linear(self, x: Floats, linear: Linear, precise: bool = False) -> Floats:
        """Rounds x where the weight is quantized."""
        name = linear.weight.meta.name.partition("[")[0]
        if name in self._quantized:
            x = round_inputs(x, self._config, self._quantized[name])
        return super().linear(x, linear, precise)


class SimulatingBackend(ReferenceBackend):
    """The reference backend for an INT8 checkpoint, activations and all."""

    def __init__(self, file: CompressedFile, config: Int8Config) -> None:
        super().__init__()
        self._config = config
        self._quantized = {
            name: file.input_range(name.removesuffix(".weight")) for name in file.int8_names
        }

    def forward(self, model: Model, batch: Batch) -> Floats:
        """Logits (R, vocab_size)."""
        layout = KvLayout(model.attention_shapes)
        inner = ReferenceOps(batch, layout, self.arithmetic)
        return run_model(model, _Rounding(inner, self._quantized, self._config))


class CapturingBackend(ReferenceBackend):
    """The reference backend, reporting what enters every matrix."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def forward(self, model: Model, batch: Batch) -> Floats:
        """Logits (R, vocab_size)."""
        layout = KvLayout(model.attention_shapes)
        return run_model(model, Capture(ReferenceOps(batch, layout, self.arithmetic), self._report))


def simulating(path: Path) -> ReferenceBackend:
    """The backend an INT8 checkpoint asks for: with rounded inputs, or the plain reference."""
    container, facts = open_model(path)
    if facts.quantization != METHOD or not isinstance(container, SafetensorsFile):
        return ReferenceBackend()
    config = read_config(facts.config["quantization_config"], str(path))
    return SimulatingBackend(CompressedFile(container), config)
