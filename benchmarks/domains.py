"""What mixing importance matrices buys and costs: divergence by domain, on parts no matrix saw.

    python benchmarks/domains.py SOURCE.gguf --folder DIR general=A.txt code=FOLDER horror=B.txt
        [--types IQ4_NL Q5_1] [--chunks 30] [--windows 8] [--method ggml]

Each domain is text files, or a folder of *.py. Of every file the first half calibrates and the
second half tests, in passages spread evenly over the half. Matrices: none, then mixtures with equal
weights of the first domain, the first two, and so on (neo, di, tri). All matrices of layers get the
type, the embedding (and so an output matrix tied to it) BF16. Reference: SOURCE in exact
arithmetic. Rows are kept in DIR, so the same command goes on where it was. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yardstick import CONTEXT_TOKENS, Ledger, Yardstick, figures

from ingle import hub
from ingle.backends.cpu.cores import usable_cores
from ingle.backends.cpu.watching import WatchingBackend
from ingle.evaluate.subject import Subject
from ingle.quantize.imatrix import Imatrix, read_imatrix, write_imatrix
from ingle.quantize.imatrix.calibration import calibration
from ingle.quantize.imatrix.collect import Collection
from ingle.quantize.imatrix.merge import Source, merge
from ingle.quantize.job import plan, quantize
from ingle.quantize.recipe import Override, Recipe

NAMES = ("neo", "di", "tri")
CHARACTERS = 6  # of a token of any of these texts there are fewer on average
PASSAGES = 16  # of each half


@dataclass(frozen=True)
class Domain:
    """A kind of text, and its two files: for the matrix, and for the test."""

    name: str
    seen: Path
    unseen: Path


def domain(word: str, folder: Path, tokens_seen: int, tokens_unseen: int) -> Domain:
    """NAME=FILE,FILE or NAME=FOLDER, its passages written to two files."""
    name, _, places = word.partition("=")
    paths = [path for place in places.split(",") for path in _files(Path(place))]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
    found = Domain(name, folder / f"{name}-seen.txt", folder / f"{name}-unseen.txt")
    first = "".join(text[: len(text) // 2] for text in texts)
    second = "".join(text[len(text) // 2 :] for text in texts)
    found.seen.write_text(_spread(first, tokens_seen * CHARACTERS), encoding="utf-8")
    found.unseen.write_text(_spread(second, tokens_unseen * CHARACTERS), encoding="utf-8")
    return found


def _files(place: Path) -> list[Path]:
    return sorted(place.glob("*.py")) if place.is_dir() else [place]


def _spread(text: str, length: int) -> str:
    """Passages of equal length from all over the text, `length` characters together."""
    size = length // PASSAGES
    starts = (len(text) * index // PASSAGES for index in range(PASSAGES))
    return "\n".join(text[start : start + size] for start in starts)


def matrices(source: Path, domains: Sequence[Domain], folder: Path, chunks: int) -> dict[str, Any]:
    """Mixtures by name, of 1, 2 ... domains; "none" is no matrix."""
    found: dict[str, Imatrix | None] = {"none": None}
    single: list[Source] = []
    for one in domains:
        path = folder / f"{one.name}.imatrix"
        if not path.exists():
            backend = WatchingBackend(None, False, False)
            subject = Subject("source", source, backend, CONTEXT_TOKENS)
            text = calibration(subject, [str(one.seen)], CONTEXT_TOKENS, chunks)
            write_imatrix(path, Collection(subject, CONTEXT_TOKENS).run(text))
        single.append(Source(one.name, read_imatrix(str(path))))
        label = NAMES[len(single) - 1] if len(single) <= len(NAMES) else str(len(single))
        share = 1 / len(single)
        mixed = [Source(one.name, one.imatrix, share) for one in single]
        found[label] = merge(mixed) if len(mixed) > 1 else mixed[0].imatrix
    return found


def made(args: argparse.Namespace, source: Path, type_name: str, matrix: Imatrix | None) -> Path:
    """The file of one row."""
    target: Path = args.folder / "candidate.gguf"
    target.unlink(missing_ok=True)
    overrides = (Override.parse("token_embd=BF16"),)
    recipe = Recipe(type_name, pure=True, overrides=overrides, output_type="BF16")
    return quantize(plan(source, recipe, matrix, args.method), target, threads=usable_cores())


def row_of(
    args: argparse.Namespace,
    ledger: Ledger,
    source: Path,
    domains: Sequence[Domain],
    type_name: str,
    mixtures: Mapping[str, Imatrix | None],
    label: str,
) -> dict[str, Any]:
    """A row: figures by domain; from the ledger if it is there."""
    key = {"type": type_name, "matrix": label, "method": args.method}
    known = ledger.find(**key)
    if known is not None:
        return known
    model = made(args, source, type_name, mixtures[label])
    found: dict[str, Any] = dict(key)
    for one in domains:
        kept = args.folder / f"{one.name}.logits"
        found[one.name] = figures(Yardstick(source, one.unseen, args.windows, kept).measure(model))
    ledger.add(found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("domains", nargs="+", metavar="NAME=FILES")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--types", nargs="+", default=["IQ4_NL", "Q5_1"])
    parser.add_argument("--chunks", type=int, default=30)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--method", default="ggml")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    seen, unseen = (count * CONTEXT_TOKENS for count in (args.chunks, args.windows))
    domains = [domain(word, args.folder, seen, unseen) for word in args.domains]
    source = hub.resolve(args.source)
    mixtures = matrices(source, domains, args.folder, args.chunks)
    ledger = Ledger(args.folder / "domains.jsonl")
    print("| type | matrix | " + " | ".join(one.name for one in domains) + " |")
    print("|---" * (2 + len(domains)) + "|")
    rows = []
    for type_name in args.types:
        for label in mixtures:
            row = row_of(args, ledger, source, domains, type_name, mixtures, label)
            rows.append(row)
            cells = (
                f"{row[one.name]['mean_kld']:.5f} ± {row[one.name]['kld_error']:.5f}"
                for one in domains
            )
            print(f"| {type_name} | {label} | " + " | ".join(cells) + " |", flush=True)
    print(json.dumps({"source": args.source, "windows": args.windows, "rows": rows}))


if __name__ == "__main__":
    main()
