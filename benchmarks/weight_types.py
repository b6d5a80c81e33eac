"""ingle beside llama-bench for each weight type: tokens per second, and their ratios.

    python benchmarks/weight_types.py --peer llama.cpp=PATH/llama-bench [--folder F] [--rounds 5]

The model has Qwen3's shape (`ingle synth qwen3:0.6b`, fewer layers, random weights), its matrices
all in one type (`ingle quantize --pure`). --model GGUF: another source. --peer NAME=COMMAND is
repeatable; a peer that cannot read a type is left out there. Engines take turns, one process at a
time; each round's ratio is of two neighbours, and the median of the ratios counts. Files stay in
--folder. Last line: one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from peers import Key, named, run_ingle, warm

TYPES = "F32,BF16,F16,Q8_0,Q6_K,Q5_K,Q5_1,Q5_0,Q4_K,Q4_1,Q4_0,IQ4_NL,IQ4_XS,Q3_K,Q2_K"
WORDS = 300  # characters of what a failing program said last


def main() -> None:
    args = parsed()
    args.folder.mkdir(parents=True, exist_ok=True)
    peers = dict(named(text) for text in args.peer)
    source = args.model or synthesized(args.folder, args.layers)
    rows: list[dict[str, Any]] = []
    print(
        f"{'type':<8}{'test':<7}{'peer':<12}{'ingle t/s':>11}{'peer t/s':>11}{'ratio':>8}  ratios"
    )
    for name in args.types.split(","):
        args.model = in_type(source, args.folder, name)
        for row in compared(name, rounds_of(args, peers)):
            rows.append(row)
            each = " ".join(f"{ratio:.2f}" for ratio in row["ratios"])
            print(
                f"{row['type']:<8}{row['test']:<7}{row['peer']:<12}{row['tokens_per_s']:>11.1f}"
                f"{row['peer_tokens_per_s']:>11.1f}{row['ratio']:>8.2f}  {each}",
                flush=True,
            )
        if args.drop:
            args.model.unlink()
    said = {"model": source.name, "threads": args.threads, "rounds": args.rounds, "results": rows}
    print(json.dumps(said))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--model", type=Path, help="source of all types; synthesized if left out")
    parser.add_argument("--folder", type=Path, default=Path("build/weight-types"))
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=1, help="runs of a test within a process")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--drop", action="store_true", help="remove each file once it was measured")
    parser.add_argument("-p", default="512")
    parser.add_argument("-n", default="64")
    args = parser.parse_args()
    args.d, args.batch, args.files = "0", "1", {}  # what `peers` looks at
    return args


def synthesized(folder: Path, layers: int) -> Path:
    path = folder / f"qwen3-0.6b-{layers}-layers.gguf"
    if not path.exists():
        ingle("synth", "qwen3:0.6b", str(path), "--layers", str(layers))
    return path


def in_type(source: Path, folder: Path, name: str) -> Path:
    """The source with every matrix in that type."""
    path = folder / f"{source.stem}.{name}.gguf"
    if not path.exists():
        ingle("quantize", str(source), str(path), name, "--pure")
    return path


def ingle(*words: str) -> None:
    command = [sys.executable, "-m", "ingle.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"ingle {' '.join(words)}\n{done.stderr.strip()[-WORDS:]}")


def run_llama_bench(args: argparse.Namespace, command: list[str]) -> dict[Key, float]:
    """Tokens per second by test; nothing where it cannot read the file."""
    options = ["-m", str(args.model), "-p", args.p, "-n", args.n, "-t", str(args.threads)]
    options += ["-r", str(args.repeat), "-o", "json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    if done.returncode:
        print(f"# {command[0]}: {(done.stderr or done.stdout).strip()[-WORDS:]}", file=sys.stderr)
        return {}
    rates = {}
    for row in json.loads(done.stdout):
        test = f"tg{row['n_gen']}" if row["n_gen"] else f"pp{row['n_prompt']}"
        rates[test, 0, 1] = statistics.median(row["samples_ts"])
    return rates


def rounds_of(args: argparse.Namespace, peers: dict[str, list[str]]) -> list[dict[str, Any]]:
    """For each round, rates by engine."""
    found = []
    warm(args, args.model)
    for number in range(args.rounds):
        turns = ["ingle", *peers]
        one: dict[str, Any] = {}
        for name in reversed(turns) if number % 2 else turns:
            if name == "ingle":
                one[name] = run_ingle(args, args.model)[0]
            else:
                one[name] = run_llama_bench(args, peers[name])
        found.append(one)
    return found


def compared(name: str, rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each test and peer that ran it."""
    rows = []
    for key in rounds[0]["ingle"]:
        for peer in rounds[0].keys() - {"ingle"}:
            pairs = [(one["ingle"][key], one[peer][key]) for one in rounds if key in one[peer]]
            if not pairs:
                continue
            ratios = [ours / theirs for ours, theirs in pairs]
            rows.append(
                {
                    "type": name,
                    "test": key[0],
                    "peer": peer,
                    "tokens_per_s": round(statistics.median(ours for ours, _ in pairs), 1),
                    "peer_tokens_per_s": round(statistics.median(theirs for _, theirs in pairs), 1),
                    "ratio": round(statistics.median(ratios), 3),
                    "ratios": [round(ratio, 3) for ratio in ratios],
                }
            )
    return rows


if __name__ == "__main__":
    main()
