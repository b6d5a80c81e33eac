"""Python threads that share a model get the bits they would get alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ingle import LLM
from ingle.backends import make_backend
from ingle.errors import IngleError
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


def test_a_forked_child_is_told_and_does_not_hang(tiny_llama: Callable[..., Path]) -> None:
    script = """
import os, sys
from ingle import LLM
from ingle.backends import make_backend
from ingle.errors import IngleError
llm = LLM(sys.argv[1], threads=2, context=64)
llm.logits([1, 2, 3])
child = os.fork()
if child == 0:
    try:
        llm.logits([1, 2, 3])
    except RuntimeError as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.waitpid(child, 0)
"""
    command = [sys.executable, "-W", "ignore", "-c", script, str(tiny_llama())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "loaded after the process forks" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_threads_that_the_system_refuses_are_an_error_and_no_abort() -> None:
    script = """
import resource
from ingle import _native
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
try:
    _native.Pool(1024)
except RuntimeError as error:
    print("refused:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("refused:")


def test_far_more_threads_than_cores_are_refused() -> None:
    with pytest.raises(IngleError, match=r"\[threads\] count must be from 1 to \d+ on \d+ usable"):
        make_backend("cpu", 100_000)
