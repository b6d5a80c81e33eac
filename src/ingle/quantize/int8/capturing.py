"""Owns the reference backend that tells what enters every matrix, for calibration.

It does not know what is made of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ingle.backends.reference import ReferenceBackend
from ingle.backends.reference.forward import ReferenceOps
from ingle.ops import Batch, KvLayout, Model
from ingle.ops.capture import Capture
from ingle.ops.protocol import run_model

Floats = NDArray[np.float32]
Report = Callable[[str, Floats, NDArray[np.intp] | None], None]


class CapturingBackend(ReferenceBackend):
    """The reference backend, reporting what enters every matrix."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def forward(self, model: Model, batch: Batch) -> Floats:
        """Logits (R, vocab_size)."""
        layout = KvLayout(model.attention_shapes)
        return run_model(model, Capture(ReferenceOps(batch, layout, self.arithmetic), self._report))
