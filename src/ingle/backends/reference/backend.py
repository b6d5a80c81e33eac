"""Owns the reference backend: numpy, always complete, never fast. The oracle of the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingle.backends.reference.arithmetic import (
    Arithmetic,
    FloatArithmetic,
    KernelArithmetic,
    ReferenceWeight,
)
from ingle.backends.reference.forward import ReferenceOps
from ingle.errors import IngleError
from ingle.numerics import FORMATS, Format
from ingle.ops import USUAL_KV_TYPE, Batch, KvLayout, Model, Weight
from ingle.ops.protocol import run_model

_ARITHMETICS: dict[str, type[Arithmetic]] = {"float": FloatArithmetic, "q8": KernelArithmetic}


class ReferenceBackend:
    """Runs models in numpy. emulate="q8" repeats the native kernels' arithmetic bit for bit, which
    keeps keys and values in 16 bits too."""

    name = "reference"

    def __init__(self, emulate: str = "float") -> None:
        if emulate not in _ARITHMETICS:
            raise IngleError("emulate", f"arithmetic must be float or q8, but got {emulate}")
        self.arithmetic = _ARITHMETICS[emulate]()
        self.kv_type = "f32" if emulate == "float" else USUAL_KV_TYPE

    @property
    def kernels(self) -> str:
        """Name of the arithmetic."""
        return f"numpy {self.arithmetic.name}"

    def matrix(self, name: str, fmt: Format, data: NDArray[np.uint8]) -> ReferenceWeight:
        """A handle that keeps a view of the encoded rows."""
        return ReferenceWeight(name, fmt, data, fmt.columns(data.shape[-1]))

    def vector(self, name: str, values: NDArray[np.float32]) -> ReferenceWeight:
        """A handle of float32 (n,) or (experts, n)."""
        return ReferenceWeight(name, FORMATS["F32"], values.view(np.uint8), values.shape[-1])

    def export(self, weight: Weight) -> NDArray[np.uint8]:
        """The encoded rows."""
        assert isinstance(weight, ReferenceWeight)
        return weight.data

    def forward(self, model: Model, batch: Batch) -> NDArray[np.float32]:
        """Logits (R, vocab_size)."""
        layout = KvLayout(model.attention_shapes)
        return run_model(model, ReferenceOps(batch, layout, self.arithmetic))
