"""What types of weights cost, by every method, beside llama-quantize with the same importance.

    python benchmarks/quality.py SOURCE --calibration VALID.txt --test TEST.txt --folder DIR
        [--rows Q4_0 IQ4_NL ffn_down=Q3_K ...] [--methods ggml search ggml+imatrix gptq ...]
        [--llama BIN] [--rest Q8_0] [--vocabulary MODEL.gguf] [--chunks 60] [--gptq-chunks 24]

SOURCE (GGUF, or a folder of safetensors) is expanded to F16, which is the reference, in exact
arithmetic. A row is a type for every matrix, or REGEX=TYPE for some with all others at --rest.
Importance: the first --chunks windows of 512 of the calibration text, in one file for both
engines; gptq sees the first --gptq-chunks of them. The measure is ingle's own evaluation, of
llama-quantize's files too. Where `ggml` gives the bytes of llama-quantize, they are measured once.
Everything is kept in DIR, so the same command goes on where it was. --vocabulary: a file to take
the tokenizer from, where SOURCE has none. Last line: JSON.

methods: ggml, search, each alone or as NAME+imatrix; gptq; llama, llama+imatrix (with --llama);
ceil (MXFP4 by the exponent that saturates nothing).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from candidate import recipe_of
from numpy.typing import NDArray
from yardstick import CONTEXT_TOKENS, Ledger, Yardstick, figures

from ingle import hub
from ingle.backends.cpu.cores import usable_cores
from ingle.backends.cpu.watching import WatchingBackend
from ingle.backends.reference import ReferenceBackend
from ingle.evaluate.subject import Subject
from ingle.formats import GgufFile
from ingle.formats.convert import as_gguf
from ingle.formats.gguf_values import typed_metadata
from ingle.formats.writer import TensorSpec, write_gguf
from ingle.numerics import encode
from ingle.numerics.mxfp4 import MXFP4_ROUND_UP
from ingle.quantize.gptq import GptqRounding
from ingle.quantize.hessian import LayerStream, Sums
from ingle.quantize.imatrix import read_imatrix, write_imatrix
from ingle.quantize.imatrix.calibration import calibration
from ingle.quantize.imatrix.collect import Collection
from ingle.quantize.job import RoundingMethod, plan, quantize
from ingle.quantize.recipe import Recipe

METHODS = ("llama", "ggml", "search", "llama+imatrix", "ggml+imatrix", "search+imatrix", "gptq")
ROWS = (
    *("Q4_0", "IQ4_NL", "Q4_1", "Q5_0", "Q5_1", "Q8_0"),
    *("ffn_down=Q3_K", "ffn_down=Q2_K", "ffn_down=Q4_K"),
)


class KeptStream(LayerStream):
    """A stream that keeps every layer's sums in a folder: one pass serves all types (0.4 GB here).

    A pass that was interrupted goes on after its last whole layer.
    """

    def __init__(self, container: GgufFile, windows: Sequence[Sequence[int]], folder: Path) -> None:
        super().__init__(container, windows)
        folder.mkdir(exist_ok=True)
        self._folder = folder
        done = sorted(folder.glob("*.sums"))
        if done and len(done) <= self.num_layers:
            self._at = len(done) - 1
            self._rows = list(np.load(self._rows_after(self._at)))
        self._held: tuple[int, Sums] = (-1, Sums())

    def layer(self, index: int) -> Sums:
        """Sums of any layer, in any order; the same object while one layer is asked for."""
        while not self._place(index).exists():
            sums = super().layer(self._at + 1)
            sums._last = None
            np.save(self._rows_after(self._at), np.stack(self._rows))
            aside = self._folder / "aside"
            aside.write_bytes(pickle.dumps(sums))
            aside.replace(self._place(self._at))
            self._rows_after(self._at - 1).unlink(missing_ok=True)
        if self._held[0] != index:
            self._held = (index, pickle.loads(self._place(index).read_bytes()))
        return self._held[1]

    def _rows_after(self, layer: int) -> Path:
        return self._folder / f"rows-after-{layer:03d}.npy"

    def _place(self, layer: int) -> Path:
        return self._folder / f"{layer:03d}.sums"


class CeilingRule:
    """MXFP4 with the exponent rounded up, so that no code saturates."""

    identity = "mxfp4 exponent rounded up"

    def knows(self, name: str) -> bool:
        """What becomes MXFP4 here."""
        return "_exps." in name

    def encode(
        self, name: str, matrix: int, weights: NDArray[np.float32], format_name: str
    ) -> NDArray[np.uint8]:
        """Encoded rows."""
        rows: NDArray[np.uint8] = encode(MXFP4_ROUND_UP, weights)
        return rows


@dataclass(frozen=True)
class Bench:
    """Where files lie and what they are made from."""

    folder: Path
    calibration: Path
    chunks: int
    gptq_chunks: int
    rest: str
    llama: Path | None

    @property
    def source(self) -> Path:
        """The reference: every matrix in F16."""
        return self.folder / "source-f16.gguf"

    @cached_property
    def imatrix(self) -> Path:
        """The importance matrix, made when it is not there."""
        path = self.folder / "imatrix.gguf"
        if not path.exists():
            subject = Subject(
                "source", self.source, WatchingBackend(None, False, False), CONTEXT_TOKENS
            )
            text = calibration(subject, [str(self.calibration)], CONTEXT_TOKENS, self.chunks)
            write_imatrix(path, Collection(subject, CONTEXT_TOKENS).run(text))
        return path

    @cached_property
    def stream(self) -> KeptStream:
        """The calibration text on its way through the reference."""
        subject = Subject("source", self.source, ReferenceBackend(), CONTEXT_TOKENS)
        text = calibration(subject, [str(self.calibration)], CONTEXT_TOKENS, self.gptq_chunks)
        return KeptStream(GgufFile.open(self.source), text.windows, self.folder / "sums")

    def make(self, row: str, method: str) -> Path:
        """A file of one type by one method."""
        name = re.sub(r"[^A-Za-z0-9_]", "-", f"{row}-{method}")
        target = (
            self.folder / f"{name}.gguf"
        )  # of its own, so that several rows can be made at once
        if target.exists():  # made before, and not measured to the end
            return target
        kind, _, imatrix = method.partition("+")
        if kind == "llama":
            self._by_llama(row, target, bool(imatrix))
            return target
        matrix = read_imatrix(str(self.imatrix)) if imatrix else None
        method = "ggml" if kind == "ceil" else kind
        planned = plan(self.source, recipe_of(row, self.rest), matrix, method)
        return quantize(
            planned, target, threads=usable_cores(), rounding=self._rounding(kind, planned.model)
        )

    def _rounding(self, kind: str, model: Any) -> RoundingMethod | None:
        if kind == "ceil":
            return CeilingRule()
        if kind != "gptq":
            return None
        tied = "output.weight" not in model.tensors
        return GptqRounding(self.stream, tied=tied, threads=usable_cores())

    def _by_llama(self, row: str, target: Path, imatrix: bool) -> None:
        assert self.llama is not None
        command = [str(self.llama / "llama-quantize"), "--pure"]
        if imatrix:
            command += ["--imatrix", str(self.imatrix)]
        pattern, equals, type_name = row.rpartition("=")
        if equals:
            command += ["--tensor-type", f"{pattern}={type_name.lower()}"]
        command += [str(self.source), str(target), self.rest if equals else type_name]
        command.append(str(usable_cores()))
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SystemExit(f"{' '.join(command)}\n{(ran.stdout + ran.stderr)[-2000:]}")


def expand(source: str, target: Path, vocabulary: str | None) -> None:
    """The model in F16 at `target`; vocabulary: a GGUF file whose tokenizer it gets."""
    recipe = Recipe("F16", pure=True, keep_mxfp4=False)
    if vocabulary is None:
        quantize(plan(hub.resolve(source), recipe), target, threads=usable_cores())
        return
    model = as_gguf(source)
    words = typed_metadata(GgufFile.open(hub.resolve(vocabulary)))
    metadata = {
        **{key: value for key, value in model.metadata.items() if "tokenizer." not in key},
        **{key: value for key, value in words.items() if key.startswith("tokenizer.")},
    }
    whole = target.with_name("source-whole.gguf")
    specs = [TensorSpec(name, t.format, t.shape) for name, t in model.tensors.items()]
    write_gguf(whole, metadata, specs, lambda name: model.tensors[name].pieces())
    quantize(plan(whole, recipe), target, threads=usable_cores())
    whole.unlink()


def fingerprint(path: Path) -> tuple[str, float]:
    """Of all tensors' bytes, whatever their order; and stored bits per weight of the file."""
    file = GgufFile.open(path)
    digest, size, weights = hashlib.sha256(), 0, 0
    for name in sorted(file.tensors):
        data = np.ascontiguousarray(file.read(name))
        digest.update(name.encode())
        digest.update(data.data)
        size += data.nbytes
        weights += int(np.prod(file.tensors[name].shape))
    return digest.hexdigest(), 8 * size / weights


def measured(bench: Bench, measure: Yardstick, ledger: Ledger, row: str, method: str) -> None:
    """Add the row to the ledger, unless it is there."""
    key = {"row": row, "method": method, "rest": bench.rest}
    if ledger.find(**key):
        return
    path = bench.make(row, method)
    digest, bits = fingerprint(path)
    twin = ledger.find(digest=digest)
    result = figures(measure.measure(path)) if twin is None else {k: twin[k] for k in FIGURES}
    ledger.add({**key, "bits": round(bits, 4), "digest": digest, **result})
    path.unlink()
    said = f"KLD {result['mean_kld']:.5f} +- {result['kld_error']:.5f}, top-1 {result['top1']:.2%}"
    print(f"{row:<16} {method:<16} {bits:.3f} bits  {said}", flush=True)


FIGURES = ("perplexity", "mean_kld", "kld_error", "top1", "top1_error")


def table(ledger: Ledger, rows: list[str], methods: list[str], rest: str) -> str:
    """Markdown: a line per type, mean KLD (and top-1) per method."""
    lines = ["| type | true bits | " + " | ".join(methods) + " |"]
    lines.append("|---|---|" + "---|" * len(methods))
    for row in rows:
        cells = []
        bits = ""
        for method in methods:
            found = ledger.find(row=row, method=method, rest=rest)
            if found is None:
                cells.append("")
                continue
            bits = f"{found['bits']:.3f}"
            cells.append(f"{found['mean_kld']:.4f} ({found['top1']:.1%})")
        lines.append(f"| {row} | {bits} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=list(ROWS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--llama", type=Path)
    parser.add_argument("--rest", default="Q8_0")
    parser.add_argument("--vocabulary")
    parser.add_argument("--chunks", type=int, default=60)
    parser.add_argument("--gptq-chunks", type=int, default=24)
    parser.add_argument("--windows", type=int, default=16)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        args.folder, args.calibration, args.chunks, args.gptq_chunks, args.rest, args.llama
    )
    if not bench.source.exists():
        expand(args.source, bench.source, args.vocabulary)
    measure = Yardstick(bench.source, args.test, args.windows, args.folder / "reference.logits")
    ledger = Ledger(args.folder / "quality.jsonl")
    methods = [m for m in args.methods if args.llama or not m.startswith("llama")]
    for method in methods:
        for row in args.rows:
            measured(bench, measure, ledger, row, method)
    print(table(ledger, args.rows, methods, args.rest))
    found = [ledger.find(row=r, method=m, rest=args.rest) for r in args.rows for m in methods]
    print(json.dumps({"source": args.source, "windows": args.windows, "rows": found}))


if __name__ == "__main__":
    main()
