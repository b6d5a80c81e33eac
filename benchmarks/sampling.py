"""Milliseconds to draw one token from gpt-oss's vocabulary, by sampling options.

    python benchmarks/sampling.py [--vocab 201088] [--draws 100]

Logits have the shape that language models give: a broad floor and a few dozen candidates above it;
"flat" has no candidates, which is the worst case. Last line: JSON, the median of each in ms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np

from ingle.runtime import SamplingParams
from ingle.runtime.logprobs import token_logprobs
from ingle.runtime.presets import PRESETS
from ingle.runtime.sampling import Sampler

ROWS = 20
PROMPT_TOKENS = 3000
SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "temperature 1": {},
    "top_k 40": {"top_k": 40},
    "top_p 0.95": {"top_p": 0.95},
    "min_p 0.05": {"min_p": 0.05},
    "typical_p 0.9": {"typical_p": 0.9},
    "presence and frequency": {"presence_penalty": 0.5, "frequency_penalty": 0.5},
    "repetition 1.1": {"repetition_penalty": 1.1},
    "300 biases": {"logit_bias": dict.fromkeys(range(300), 1.0)},
    **{f"preset {name}": dict(options) for name, options in PRESETS.items()},
}


def peaked(random: np.random.Generator, vocab: int) -> np.ndarray:
    logits = (random.standard_normal(vocab) * 2.5 - 4).astype(np.float32)
    logits[random.integers(0, vocab, 60)] += np.linspace(6, 20, 60, dtype=np.float32)
    return logits


def median_ms(rows: list[np.ndarray], draws: int, options: dict[str, Any]) -> float:
    vocab = len(rows[0])
    sampler = Sampler(SamplingParams(**{"seed": 1, **options}), vocab, range(PROMPT_TOKENS))
    times = []
    for index in range(ROWS + draws):  # the first round warms up
        started = time.perf_counter()
        sampler.draw(rows[index % ROWS])
        times.append(time.perf_counter() - started)
    return round(statistics.median(times[ROWS:]) * 1e3, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocab", type=int, default=201_088)
    parser.add_argument("--draws", type=int, default=100)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    rows = [peaked(random, args.vocab) for _ in range(ROWS)]
    flat = [random.standard_normal(args.vocab).astype(np.float32) for _ in range(ROWS)]
    found = {name: median_ms(rows, args.draws, options) for name, options in SETTINGS.items()}
    found["flat, top_p 0.95"] = median_ms(flat, args.draws, {"top_p": 0.95})
    started = time.perf_counter()
    for row in rows:
        token_logprobs(row, 0, 20)
    found["20 log-probabilities"] = round((time.perf_counter() - started) / ROWS * 1e3, 3)
    for name, value in found.items():
        print(f"{name:24} {value:7.3f} ms")
    print(json.dumps({"vocab": args.vocab, "draws": args.draws, "median_ms": found}))


if __name__ == "__main__":
    main()
