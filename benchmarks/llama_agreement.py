"""How near ingle and llama.cpp are on the same files, one of every type, teacher-forced.

    python benchmarks/llama_agreement.py SOURCE.gguf --text TEXT --llama BIN --folder DIR
        [--rows as-it-is Q4_0 ffn_down=Q3_K ...] [--windows 4]
        [--method ggml] [--imatrix FILE] [--pair]

A row is a type for every matrix of SOURCE, or REGEX=TYPE for some with all others Q8_0; `as-it-is`
is SOURCE itself. Of each file three divergences over the windows: of llama.cpp from ingle, of
ingle from itself in exact arithmetic, and of llama.cpp from that. What llama.cpp says is measured
by llama-perplexity, which reads the logits that ingle keeps. Rows are kept in DIR, so the same
command goes on where it was. --pair: only the first divergence. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from candidate import recipe_of
from yardstick import CONTEXT_TOKENS, Ledger, Yardstick, figures

from ingle import hub
from ingle.backends.cpu.cores import usable_cores
from ingle.quantize.imatrix import read_imatrix
from ingle.quantize.job import plan, quantize

AS_IT_IS = "as-it-is"
ROWS = (
    *(AS_IT_IS, "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", ".*=MXFP4", "BF16", "F16"),
    *(f"ffn_down={name}" for name in ("IQ4_XS", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")),
)
_FOUND = {
    "mean_kld": re.compile(r"Mean\s+KLD:\s*([-0-9.]+)\s*±\s*([0-9.]+)"),
    "top1": re.compile(r"Same top p:\s*([0-9.]+)\s*±\s*([0-9.]+)"),
    "perplexity": re.compile(r"Mean PPL\(Q\)\s*:\s*([0-9.]+)\s*±\s*([0-9.]+)"),
}


def by_llama(llama: Path, model: Path, logits: Path) -> dict[str, float]:
    """Divergence of llama.cpp on `model` from kept logits, as llama-perplexity prints it."""
    command = [str(llama / "llama-perplexity"), "-m", str(model), "-t", str(usable_cores())]
    command += ["-c", str(CONTEXT_TOKENS), "-b", str(CONTEXT_TOKENS), "--kl-divergence"]
    command += ["--kl-divergence-base", str(logits)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    said = ran.stdout + ran.stderr
    matches = {name: pattern.search(said) for name, pattern in _FOUND.items()}
    if ran.returncode or not all(matches.values()):
        raise SystemExit(f"{' '.join(command)}\n{said[-3000:]}")
    values = {name: (float(m[1]), float(m[2])) for name, m in matches.items() if m}
    return {
        "mean_kld": values["mean_kld"][0],
        "kld_error": values["mean_kld"][1],
        "top1": values["top1"][0] / 100,
        "top1_error": values["top1"][1] / 100,
        "perplexity": values["perplexity"][0],
    }


def measured(args: argparse.Namespace, model: Path) -> dict[str, Any]:
    """The divergences of one file."""
    exact = Yardstick(model, args.text, args.windows, args.folder / "exact.logits")
    ours = Yardstick(model, args.text, args.windows, args.folder / "ours.logits", exact=False)
    for kept in (exact.kept, ours.kept):
        kept.unlink(missing_ok=True)
    found = {}
    if not args.pair:
        found["ours_to_exact"] = figures(exact.measure(model))
        found["llama_to_exact"] = by_llama(args.llama, model, exact.kept)
        exact.kept.unlink()
    ours.prepare()
    found["llama_to_ours"] = by_llama(args.llama, model, ours.kept)
    ours.kept.unlink()
    return found


def row_of(args: argparse.Namespace, source: Path, row: str, ledger: Ledger) -> dict[str, Any]:
    """A row of the table, from the ledger if it is there."""
    key = {"row": row, "windows": args.windows, "method": args.method}
    known = ledger.find(**key)
    if known is not None:
        return known
    model = source
    if row != AS_IT_IS:
        model = args.folder / "candidate.gguf"
        model.unlink(missing_ok=True)
        matrix = read_imatrix(str(args.imatrix)) if args.imatrix else None
        planned = plan(source, recipe_of(row), matrix, args.method)
        quantize(planned, model, threads=usable_cores())
    found = {**key, **measured(args, model)}
    ledger.add(found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--llama", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=list(ROWS))
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--method", choices=("ggml", "search"), default="ggml")
    parser.add_argument("--imatrix", type=Path)
    parser.add_argument("--pair", action="store_true")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(args.folder / "agreement.jsonl")
    print("| file | same top-1 | llama.cpp from ingle | ingle from exact | llama.cpp from exact |")
    print("|---|---|---|---|---|")
    rows = []
    for row in args.rows:
        found = row_of(args, hub.resolve(args.source), row, ledger)
        rows.append(found)
        pair = found["llama_to_ours"]
        cells = [row, f"{pair['top1']:.2%}"]
        for name in ("llama_to_ours", "ours_to_exact", "llama_to_exact"):
            one = found.get(name)
            cells.append(f"{one['mean_kld']:.5f} ± {one['kld_error']:.5f}" if one else "")
        print(f"| {' | '.join(cells)} |", flush=True)
    print(json.dumps({"source": args.source, "rows": rows}))


if __name__ == "__main__":
    main()
