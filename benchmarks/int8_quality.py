"""What INT8 costs, by calibration: divergence from the floats, with inputs rounded as asked.

    python benchmarks/int8_quality.py FOLDER --calibration VALID.txt --test TEST.txt --folder DIR
        [--chunks 4] [--windows 2] [--group 64]

FOLDER: a checkpoint of plain floats in Hugging Face's layout, with its tokenizer. Inputs are
rounded by the native kernels. Rows are kept in DIR, so the same command goes on where it was. Last
line: JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yardstick import CONTEXT_TOKENS, Ledger, Yardstick, figures

from ingle.backends.reference import ReferenceBackend
from ingle.evaluate.saved_logits import open_logits
from ingle.evaluate.score import evaluate
from ingle.evaluate.subject import Subject
from ingle.quantize.int8.calibrate import calibrate
from ingle.quantize.int8.job import write_int8
from ingle.quantize.int8.observer import Observer
from ingle.quantize.int8.plan import make_plan, scanned
from ingle.quantize.int8.scheme import Scheme


@dataclass(frozen=True)
class Row:
    """A line of the table. keep_below_db: layers whose outputs are worse stay floats."""

    inputs: str
    weights: str
    scheme: Scheme
    keep_below_db: float | None = None


_DYNAMIC, _STATIC = "dynamic", "static"
ROWS = (
    Row("float", "per row, minmax", Scheme()),
    Row("float", "per row, percentile", Scheme(calibration="percentile")),
    Row("float", "per row, least error", Scheme(calibration="mse")),
    Row("float", "per row, asymmetric", Scheme(symmetric=False)),
    Row("float", "groups", Scheme(group=64)),
    Row("dynamic", "per row, minmax", Scheme(activations=_DYNAMIC)),
    Row(
        "dynamic, asymmetric",
        "per row, minmax",
        Scheme(activations=_DYNAMIC, activations_symmetric=False),
    ),
    Row("dynamic, below 25 dB kept", "per row, minmax", Scheme(activations=_DYNAMIC), 25.0),
    Row("static, minmax", "per row, minmax", Scheme(activations=_STATIC)),
    Row(
        "static, asymmetric",
        "per row, minmax",
        Scheme(activations=_STATIC, activations_symmetric=False),
    ),
    Row(
        "static, percentile",
        "per row, percentile",
        Scheme(activations=_STATIC, calibration="percentile"),
    ),
    Row(
        "static, least error",
        "per row, least error",
        Scheme(activations=_STATIC, calibration="mse"),
    ),
    Row("static, below 18 dB kept", "per row, minmax", Scheme(activations=_STATIC), 18.0),
)


def row_of(
    args: argparse.Namespace,
    ledger: Ledger,
    measure: Yardstick,
    row: Row,
    observers: dict[str, Observer],
) -> dict[str, Any]:
    """Figures of a row; from the ledger if it is there. observers: filled when they are needed."""
    key = {"inputs": row.inputs, "weights": row.weights}
    known = ledger.find(**key)
    if known is not None:
        return known
    if not observers:
        text = str(args.calibration)
        observers.update(calibrate(str(args.source), text, CONTEXT_TOKENS, args.chunks))
    target = args.folder / "candidate"
    shutil.rmtree(target, ignore_errors=True)
    scheme = row.scheme if row.scheme.group is None else replace(row.scheme, group=args.group)
    plan = make_plan(args.source, scheme, observers)
    if row.keep_below_db is not None:
        plan = scanned(plan, row.keep_below_db)
    write_int8(plan, target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (target / name).exists():
            shutil.copy(args.source / name, target)
    measure.prepare()
    saved = open_logits(measure.kept)
    subject = Subject("candidate", target, ReferenceBackend(), CONTEXT_TOKENS)
    summary = evaluate(subject, saved.windows, against=saved).summary()
    kept = len(plan.layers) - len(plan.rounded)
    found = {**key, "kept_layers": kept, **figures(summary)}
    ledger.add(found)
    shutil.rmtree(target)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--group", type=int, default=64)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    measure = Yardstick(args.source, args.test, args.windows, args.folder / "reference.logits")
    ledger = Ledger(args.folder / "int8.jsonl")
    observers: dict[str, Observer] = {}
    print("| inputs | weights | layers kept | perplexity | mean KLD | same top-1 |")
    print("|---|---|---|---|---|---|")
    rows = []
    for row in ROWS:
        found = row_of(args, ledger, measure, row, observers)
        rows.append(found)
        cells = (
            row.inputs,
            row.weights,
            str(found["kept_layers"]),
            f"{found['perplexity']:.3f}",
            f"{found['mean_kld']:.4f} ± {found['kld_error']:.4f}",
            f"{found['top1']:.1%}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)
    print(json.dumps({"source": args.source.name, "windows": args.windows, "rows": rows}))


if __name__ == "__main__":
    main()
