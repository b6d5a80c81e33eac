"""How near to the memory's speed does decoding come, second by second?

    python benchmarks/decode_wall.py MODEL [--turns 24] [--threads 2] [--depth 0] [--batch 1]

On a shared machine the wall itself moves between a run and the next, often within seconds. So one
process takes turns: a read loop over 512 MiB of anonymous memory on huge pages, the same loop over
a piece of the mapped file, another at each turn, and a step of decoding random ids. The share is a
turn's bytes per second of decoding over the same turn's read loop. Last line: one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from time import perf_counter

import numpy as np

from ingle import _native, hub
from ingle.backends.cpu.backend import CpuBackend
from ingle.backends.cpu.memory import aligned_zeros
from ingle.cli.traffic import traffic
from ingle.cli.workload import Test, Workload
from ingle.formats import open_container
from ingle.formats.mapping import Bytes, FileMap
from ingle.models import load_model

PIECE_BYTES = 512 << 20


def main() -> None:
    args = parsed()
    container = open_container(hub.resolve(args.model))
    backend = CpuBackend(args.threads)
    test = Test(True, args.turns, args.depth, args.batch)
    model = load_model(container, backend, test.positions)
    workload = Workload(model, backend, test)
    workload.warm()
    step_bytes = traffic(Workload(model, backend, test)).nbytes * args.batch
    memory = aligned_zeros((PIECE_BYTES,), np.uint8)
    memory.fill(1)
    file = FileMap(Path(container.path)).bytes
    piece = min(PIECE_BYTES, len(file))

    def read_rate(data: Bytes) -> float:
        return len(data) / min(_native.measure_read(backend.pool, data, 1))

    turns = []
    for number in range(args.turns):
        first = number * piece % max(1, len(file) - piece + 1)
        read, mapped = read_rate(memory), read_rate(file[first : first + piece])
        begun = perf_counter()
        workload.forward(args.depth + number, 1)
        turns.append((read, mapped, step_bytes / (perf_counter() - begun)))
    columns = list(zip(*turns, strict=True))
    names = ("read_bytes_per_s", "mapped_bytes_per_s", "decode_bytes_per_s")
    said = {name: statistics.median(each) for name, each in zip(names, columns, strict=True)}
    said["share_of_read"] = statistics.median(t[2] / t[0] for t in turns)
    said["share_of_mapped"] = statistics.median(t[2] / t[1] for t in turns)
    said["tokens_per_s"] = said["decode_bytes_per_s"] / step_bytes * args.batch
    print("| read loop | the mapped file | decoding | share |\n|---|---|---|---|")
    for read, mapped, decode in turns:
        rates = [f"{rate / 1e9:.1f}" for rate in (read, mapped, decode)]
        print(f"| {' | '.join(rates)} | {decode / read:.0%} |")
    print(json.dumps({"model": args.model, "threads": backend.pool.threads} | said))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--turns", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
