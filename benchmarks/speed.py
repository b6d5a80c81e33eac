"""Speed of ingle next to llama.cpp on one file: prompt (pp512) and decode (tg64) tokens per second.

    python benchmarks/speed.py MODEL.gguf [--peer PYTHON] [--rounds 5] [--threads 2]

--peer is a Python that has llama-cpp-python. Each round runs one process of each engine, one after
the other, so that both see the same noise; the ratio is the median of the rounds' ratios. Random
ids are fed: greedy decoding would loop. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

PROMPT, DECODE = 512, 64
Eval = Callable[[Sequence[int], int], None]  # ids, position of the first


def open_ingle(model: str, threads: int) -> tuple[Eval, int]:
    from ingle.backends import make_backend
    from ingle.formats import open_container
    from ingle.models import load_model
    from ingle.ops import Batch, KvLayout
    from ingle.runtime.kv import KvPool, KvSequence

    backend = make_backend("cpu", threads)
    loaded = load_model(open_container(model), backend, 1024)
    pool = KvPool(KvLayout(loaded.attention_shapes), 1024, PROMPT)
    view = KvSequence(pool)

    def evaluate(ids: Sequence[int], start: int) -> None:
        backend.forward(loaded, Batch.chunk(ids, start, pool, view, [len(ids) - 1]))

    return evaluate, loaded.vocab_size


def open_llama_cpp(model: str, threads: int) -> tuple[Eval, int]:
    import llama_cpp

    llm = llama_cpp.Llama(
        model, n_ctx=1024, n_batch=PROMPT, n_ubatch=PROMPT, n_threads=threads,
        n_threads_batch=threads, verbose=False,
    )  # fmt: skip

    def evaluate(ids: Sequence[int], start: int) -> None:
        if start == 0:
            llm.reset()
        llm.eval(ids)

    return evaluate, llm.n_vocab()


def measure(engine: str, model: str, threads: int) -> dict[str, float]:
    """Best of three after a warm-up, tokens per second."""
    evaluate, vocab = {"ingle": open_ingle, "llama.cpp": open_llama_cpp}[engine](model, threads)
    rng = random.Random(1)
    prompt = [rng.randrange(vocab) for _ in range(PROMPT)]
    tail = [rng.randrange(vocab) for _ in range(DECODE)]
    best = {"pp512": 0.0, "tg64": 0.0}
    for attempt in range(4):
        started = time.perf_counter()
        evaluate(prompt, 0)
        prompted = time.perf_counter()
        for i, token in enumerate(tail):
            evaluate([token], PROMPT + i)
        done = time.perf_counter()
        if attempt:
            best["pp512"] = max(best["pp512"], PROMPT / (prompted - started))
            best["tg64"] = max(best["tg64"], DECODE / (done - prompted))
    return best


def in_process(python: str, engine: str, args: argparse.Namespace) -> dict[str, float]:
    command = [python, __file__, args.model, "--engine", engine, "--threads", str(args.threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--peer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", choices=["ingle", "llama.cpp"])
    args = parser.parse_args()
    if args.engine:
        print(json.dumps(measure(args.engine, args.model, args.threads)))
        return
    pythons = {"ingle": sys.executable} | ({"llama.cpp": args.peer} if args.peer else {})
    rounds = [
        {name: in_process(python, name, args) for name, python in pythons.items()}
        for _ in range(args.rounds)
    ]
    result: dict[str, float] = {}
    print(f"{'test':8}" + "".join(f"{name:>14}" for name in pythons) + f"{'ratio':>10}")
    for test in ("pp512", "tg64"):
        row = {name: statistics.median(r[name][test] for r in rounds) for name in pythons}
        result |= {f"{name} {test}": round(value, 1) for name, value in row.items()}
        ratio = ""
        if args.peer:
            ratios = [r["ingle"][test] / r["llama.cpp"][test] for r in rounds]
            result[f"ratio {test}"] = round(statistics.median(ratios), 3)
            ratio = f"{result[f'ratio {test}']:10.2f}"
        print(f"{test:8}" + "".join(f"{value:14.1f}" for value in row.values()) + ratio)
    print(json.dumps({"rounds": args.rounds, "threads": args.threads} | result))


if __name__ == "__main__":
    main()
