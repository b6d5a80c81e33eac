"""Python threads that share a model get the bits they would get alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ingle import LLM
from ingle.ops import Batch, KvLayout
from ingle.runtime.kv import KvPool, KvSequence


def test_concurrent_forwards_do_not_mix(tiny_llama: Callable[..., Path]) -> None:
    with LLM(tiny_llama(), threads=2, context=256) as llm:
        model, backend = llm.engine.model, llm.backend
        layout = KvLayout(model.attention_shapes)

        def forward(seed: int) -> np.ndarray:
            pool = KvPool(layout, 256, 64)
            ids = np.random.default_rng(seed).integers(0, 256, 60).tolist()
            return backend.forward(model, Batch.chunk(ids, 0, pool, KvSequence(pool), range(60)))

        alone = [forward(seed) for seed in range(8)]
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(forward, range(8)))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)
