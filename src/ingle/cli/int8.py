"""``ingle int8``: owns how an INT8 checkpoint is asked for, and what is told of it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from ingle import hub
from ingle.cli.counting import Counting
from ingle.cli.writing import written
from ingle.errors import IngleError
from ingle.hub.progress import as_size
from ingle.quantize.int8.calibrate import calibrate
from ingle.quantize.int8.job import write_int8
from ingle.quantize.int8.observer import Observer
from ingle.quantize.int8.plan import Plan, make_plan, scanned
from ingle.quantize.int8.scheme import Scheme

_SHOWN = 12


@dataclass(frozen=True)
class Wishes:
    """What may be said about the job beside the scheme; see `ingle int8 --help`."""

    text: str | None
    context_tokens: int
    chunks: int
    keep_below_db: float | None
    dry_run: bool
    as_json: bool


def int8(source: str, target: str | None, scheme: Scheme, wishes: Wishes) -> None:
    """Calibrate, scan, tell, write. Raises IngleError."""
    path = hub.resolve(source)
    observers: dict[str, Observer] = {}
    if wishes.text is not None:
        counting: list[Counting] = []

        def tell(done: int, total: int) -> None:
            if not counting:
                counting.append(Counting("calibration", total))
            counting[0].at(done)

        make_plan(path, Scheme(scheme.group, scheme.symmetric), {})  # refuse before the work
        observers = calibrate(source, wishes.text, wishes.context_tokens, wishes.chunks, tell)
    elif wishes.keep_below_db is not None:
        raise IngleError("--keep-below", "layers are measured on text, but got none", "--text FILE")
    plan = scanned(make_plan(path, scheme, observers), wishes.keep_below_db)
    _tell(plan, wishes.as_json)
    if wishes.dry_run:
        return
    if target is None:
        raise IngleError("DST", "a folder to write must be given, but got none", "or --dry-run")
    with written("int8") as progress:
        file = write_int8(plan, Path(target), progress)
    if not wishes.as_json:
        print(f"{target}: {as_size(file.stat().st_size)}")


def _tell(plan: Plan, as_json: bool) -> None:
    ordered = sorted(plan.layers, key=lambda layer: (layer.snr_db is None, layer.snr_db))
    kept = [layer.name for layer in plan.layers if layer.keep]
    if as_json:
        layers = [{"name": x.name, "snr_db": x.snr_db, "kept": x.keep} for x in ordered]
        print(json.dumps({"layers": layers}))
        return
    if plan.observers:
        print("layers that suffer most, by the error of their outputs on the text:")
        for layer in ordered[:_SHOWN]:
            said = "  kept as it is" if layer.keep else ""
            print(f"  {layer.name:<48} {layer.snr_db:6.1f} dB{said}")
    print(f"{len(plan.rounded)} layers to INT8, {len(kept)} kept", file=sys.stderr)
