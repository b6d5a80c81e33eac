"""Running a checkpoint below the level of text: a path and token ids in, logits out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from ingle.backends import make_backend
from ingle.formats import open_container
from ingle.models import load_model
from ingle.runtime import Engine

Logits = Callable[..., np.ndarray]


@pytest.fixture
def logits() -> Logits:
    """logits(path, ids, backend="reference", **options of load_model): (len(ids), vocab_size)."""

    def run(
        path: Path, ids: Sequence[int], backend: str = "reference", **options: int | bool | None
    ) -> np.ndarray:
        chosen = make_backend(backend, threads=2, exact=backend == "cpu")
        model = load_model(open_container(path), chosen, len(ids), **options)
        return Engine(model, chosen, len(ids)).logits(list(ids))

    return run
