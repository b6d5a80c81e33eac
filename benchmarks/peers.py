"""ingle beside other engines on one model, by turns: tokens per second and their ratios.

    python benchmarks/peers.py --model MODEL.gguf --peer llama.cpp=PATH/llama-bench \\
        --roofline PATH/roofline --rounds 5 -p 512 -n 32 -d 0

--peer NAME=COMMAND, repeatable: a llama-bench with options of its own, if it needs any
("ik=PATH/llama-bench -rtr 1"). --batched COMMAND: its llama-batched-bench, for --batch above 1.
--packed FILE: what ingle reads instead of the GGUF. --variant NAME=FILE, repeatable: ingle again,
on a file that holds the model in fewer bytes; its rows are named so.

One process runs at a time. Before each, its file is read through and the others' are dropped from
the page cache, for two large files may not fit together. Each round begins and ends with
`benchmarks/roofline`; a round in which any engine reads 3% faster than the better of the two is
void: the machine's neighbours changed in between, or something was not read at all. All engines
are fed random ids. Last line: one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import mmap
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOLERANCE = 1.03  # of the roofline
PATIENCE_S = 3600
BATCHED_PROMPT = 8  # tokens; llama-batched-bench wants one

OURS = "ingle"

Key = tuple[str, int, int]  # test, depth, batch


@dataclass
class Round:
    """What one round gave: tokens per second by engine and test; bytes per second of the wall."""

    read_bytes_per_s: float = 0.0
    rates: dict[str, dict[Key, float]] = field(default_factory=dict)
    costs: dict[str, dict[Key, float]] = field(default_factory=dict)  # bytes per token, ours
    void: str = ""


def main() -> None:
    args = parsed()
    peers = dict(named(text) for text in args.peer)
    args.files = {OURS: args.packed or args.model}
    args.files |= {name: Path(file[0]) for name, file in map(named, args.variant)}
    nbytes = bytes_per_token(args.model)
    rounds = []
    for number in range(args.rounds):
        one = run_round(args, peers, nbytes, reverse=number % 2 == 1)
        rounds.append(one)
        state = one.void or "kept"
        wall = f"{one.read_bytes_per_s / 1e9:.1f} GB/s"
        print(f"round {number + 1}/{args.rounds}: {wall}, {state}", file=sys.stderr)
    report(args, [*peers, *(["batched"] if args.batched else [])], rounds)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--packed", type=Path)
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--batched", metavar="COMMAND")
    parser.add_argument("--roofline", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=1, help="runs of a test within a process")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-p", default="512")
    parser.add_argument("-n", default="32")
    parser.add_argument("-d", default="0")
    parser.add_argument("--batch", default="1")
    return parser.parse_args()


def named(text: str) -> tuple[str, list[str]]:
    """llama.cpp=/path/llama-bench -x 1 -> ("llama.cpp", ["/path/llama-bench", "-x", "1"])."""
    name, _, command = text.partition("=")
    if not command:
        sys.exit(f"--peer and --variant must be NAME=..., but got {text}")
    return name, shlex.split(command)


def bytes_per_token(model: Path) -> float:
    """Of a decoded token: what any engine must read of this file's own formats."""
    from ingle.formats import open_container
    from ingle.models import load_model
    from ingle.ops.count import CountingBackend, count

    return count(load_model(open_container(model), CountingBackend(), 1)).weights_read_bytes


def run_round(
    args: argparse.Namespace, peers: dict[str, list[str]], nbytes: float, reverse: bool
) -> Round:
    """Every engine once, in turning order, between two measurements of the machine."""
    one, walls = Round(), [roofline(args)]
    turns = [*args.files, *peers, *(["batched"] if args.batched else [])]
    for name in reversed(turns) if reverse else turns:
        warm(args, args.files.get(name, args.model))
        if name in args.files:
            one.rates[name], one.costs[name] = run_ingle(args, args.files[name])
        elif name == "batched":
            one.rates[name] = run_batched(args)
        else:
            one.rates[name] = run_peer(args, peers[name])
    walls.append(roofline(args))
    one.read_bytes_per_s = max(walls)
    one.void = too_fast(one, nbytes)
    return one


def too_fast(one: Round, peer_bytes: float) -> str:
    """Which engine beat the wall, if any did. Peers read the GGUF's bytes, ingle its own file's."""
    if not one.read_bytes_per_s:
        return ""
    for name, rates in one.rates.items():
        for key, rate in rates.items():
            test, depth, batch = key
            if not test.startswith("tg"):
                continue
            like = name if name in one.costs else OURS if batch > 1 or depth else ""
            read = rate * one.costs.get(like, {}).get(key, peer_bytes)
            if read > TOLERANCE * one.read_bytes_per_s:
                return f"void: {name} {test} read {read / 1e9:.1f} GB/s"
    return ""


def warm(args: argparse.Namespace, wanted: Path) -> None:
    """The wanted file in the page cache, the others out of it."""
    for file in {args.model, *args.files.values()} - {wanted}:
        with file.open("rb") as source:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with wanted.open("rb") as source:
        mapped = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            mapped.madvise(mmap.MADV_HUGEPAGE)  # what is read lies in pieces of 2 MiB, for all
        for at in range(0, len(mapped), mmap.PAGESIZE):
            mapped[at]


def roofline(args: argparse.Namespace) -> float:
    """Bytes per second, 0 without the program."""
    if args.roofline is None:
        return 0.0
    said = output([str(args.roofline), "--threads", str(args.threads), "--passes", "5"])
    return float(json.loads(said)["read_bytes_per_s"])


def run_ingle(args: argparse.Namespace, file: Path) -> tuple[dict[Key, float], dict[Key, float]]:
    """Tokens per second, and bytes per token."""
    command = [sys.executable, "-m", "ingle.cli", "bench", str(file), "--json"]
    command += ["-p", args.p, "-n", args.n, "-d", args.d, "--batch", args.batch]
    command += ["-t", str(args.threads), "-r", str(args.repeat)]
    rates, costs = {}, {}
    for row in json.loads(output(command).splitlines()[-1])["results"]:
        key = (row["test"], row["depth"], row["batch"])
        rates[key], costs[key] = row["tokens_per_s"], row["bytes_per_token"]
    return rates, costs


def run_peer(args: argparse.Namespace, command: list[str]) -> dict[Key, float]:
    """By llama-bench, which decodes one sequence."""
    options = ["-m", str(args.model), "-p", args.p, "-n", args.n, "-t", str(args.threads)]
    options += ["-r", str(args.repeat), "-o", "json"]
    options += ["-d", args.d] if args.d != "0" else []
    rates = {}
    for row in json.loads(output([*command, *options])):
        decode = row["n_gen"] > 0
        test = f"tg{row['n_gen']}" if decode else f"pp{row['n_prompt']}"
        rates[test, row.get("n_depth", 0), 1] = statistics.median(row["samples_ts"])
    return rates


def run_batched(args: argparse.Namespace) -> dict[Key, float]:
    """By llama-batched-bench, which draws ids at random for each sequence."""
    batches = [int(b) for b in args.batch.split(",")]
    rates = {}
    for n in filter(None, (int(n) for n in args.n.split(","))):
        room = max(batches) * (n + BATCHED_PROMPT)
        command = [*shlex.split(args.batched), "-m", str(args.model), "-t", str(args.threads)]
        command += ["-c", str(room + 256), "-npp", str(BATCHED_PROMPT), "-ntg", str(n)]
        command += ["-npl", args.batch, "--output-format", "jsonl"]
        for line in output(command).splitlines():
            if line.startswith("{"):
                row = json.loads(line)
                rates[f"tg{n}", 0, row["pl"]] = row["speed_tg"]
    return rates


def output(command: list[str]) -> str:
    """What a command prints. Ends the program with its last words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-600:]
        sys.exit(f"{shlex.join(command)}\nended with {done.returncode}: {words}")
    return done.stdout


def report(args: argparse.Namespace, engines: list[str], rounds: list[Round]) -> None:
    """A table with one row for each test and engine, then JSON."""
    kept = [one for one in rounds if not one.void]
    said: dict[str, Any] = {
        "model": args.model.name,
        "packed": args.packed.name if args.packed else None,
        "threads": args.threads,
        "rounds": len(rounds),
        "void": [one.void for one in rounds if one.void],
        "read_bytes_per_s": [round(one.read_bytes_per_s) for one in rounds],
        "results": list(compared(list(args.files), engines, kept)),
    }
    print(f"{'test':<16}{'batch':>6}  {'ours':<10}{'t/s':>9}{'of wall':>9}  {'peer':<10}{'t/s':>9}"
          f"{'of medians':>12}{'of rounds':>11}")  # fmt: skip
    for row in said["results"]:
        test = f"{row['test']} @ d{row['depth']}" if row["depth"] else row["test"]
        print(
            f"{test:<16}{row['batch']:>6}  {row['ours']:<10}{row['tokens_per_s']:>9.2f}"
            f"{row['share_of_read_bandwidth']:>9.1%}  {row['peer']:<10}"
            f"{row['peer_tokens_per_s']:>9.2f}{row['ratio_of_medians']:>11.3f}x"
            f"{row['median_of_ratios']:>10.3f}x"
        )
    print(json.dumps(said))


def compared(
    ours_named: list[str], engines: list[str], rounds: list[Round]
) -> Iterator[dict[str, Any]]:
    """For each test that both ran: medians, their ratio, and the median of the rounds' ratios."""
    keys = rounds[0].rates[OURS] if rounds else {}
    for name, key in itertools.product(ours_named, keys):
        shares = [
            r.rates[name][key] * r.costs[name][key] / r.read_bytes_per_s
            if r.read_bytes_per_s
            else 0.0
            for r in rounds
        ]
        for peer in engines:
            pairs = [(r.rates[name][key], r.rates[peer].get(key)) for r in rounds]
            both = [(ours, theirs) for ours, theirs in pairs if theirs]
            if not both:
                continue
            ours, theirs = (statistics.median(side) for side in zip(*both, strict=True))
            ratios = [a / b for a, b in both]
            yield {
                "test": key[0],
                "depth": key[1],
                "batch": key[2],
                "ours": name,
                "peer": peer,
                "tokens_per_s": round(ours, 3),
                "share_of_read_bandwidth": round(statistics.median(shares), 4),
                "bytes_per_token": round(rounds[0].costs[name][key]),
                "peer_tokens_per_s": round(theirs, 3),
                "ratio_of_medians": round(ours / theirs, 4),
                "median_of_ratios": round(statistics.median(ratios), 4),
                "ratios": [round(ratio, 4) for ratio in ratios],
            }


if __name__ == "__main__":
    main()
