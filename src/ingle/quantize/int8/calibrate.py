"""Owns calibration: a model over text, in float, remembering what enters each linear layer.

It does not know what is made of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ingle import hub
from ingle.evaluate.subject import Subject
from ingle.evaluate.window import cut, read_text
from ingle.quantize.int8.capturing import CapturingBackend
from ingle.quantize.int8.observer import Observer

Floats = NDArray[np.float32]


def calibrate(
    model: str,
    text: str,
    context_tokens: int,
    chunks: int,
    tell: Callable[[int, int], None] | None = None,
) -> dict[str, Observer]:
    """Observers by the name of the weight. text: a file; each window starts anew.

    Experts are not observed. Raises IngleError.
    """
    seen: dict[str, Observer] = {}

    def report(name: str, x: Floats, experts: NDArray[np.intp] | None) -> None:
        if experts is None and len(x):  # no logits are asked for: the head sees no row
            seen.setdefault(name.partition("[")[0], Observer()).add(x)

    subject = Subject(model, hub.resolve(model), CapturingBackend(report), context_tokens)
    ids = subject.ids(read_text(text))
    windows = cut(ids, context_tokens, chunks, subject.beginning).ids
    for done, window in enumerate(windows, 1):
        subject.run(window)
        if tell is not None:
            tell(done, len(windows))
    return seen
