"""What `ingle pack --head`, `--attention` and `--head-scan` cost: divergence from the model.

    python benchmarks/packing_price.py MODEL.gguf TEXT [--windows 4] [--write]

Each choice packs the model into a temporary folder and runs windows of 512 tokens of the text; the
mean Kullback-Leibler divergence (nats per token) and the share of tokens whose likeliest successor
stays are printed, and with --write become src/ingle/formats/packed/price.json, which `ingle show`
prints. SmolLM2 135M Q4_1 stands for all models: its head is Q8_0, as gpt-oss's is; its attention
has been Q4_1 before, so a choice for it is a second rounding. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ingle.evaluate.divergence import Softmax
from ingle.formats.packed import pack
from ingle.llm import LLM

CHOICES: list[dict[str, str]] = [
    {"head": "q6"},
    {"head": "q5"},
    {"head": "q4"},
    {"head": "q4_0"},
    {"head": "q4_1"},
    {"attention": "q6"},
    {"attention": "q5"},
    {"attention": "q5_1"},
    {"attention": "q4"},
    {"attention": "q4_0"},
    {"head": "q6", "attention": "q6"},
    {"head": "q5", "attention": "q5"},
    {"head": "q4", "attention": "q4"},
    {"head_scan": "q4"},
    {"head_scan": "q4", "attention": "q6"},
    {"head_scan": "q4", "attention": "q5"},
    {"head_scan": "q4", "attention": "q4"},
]
WINDOW = 512
PRICE = Path(__file__).parents[1] / "src" / "ingle" / "formats" / "packed" / "price.json"


def rows(model: Path, windows: list[list[int]]) -> Iterator[np.ndarray]:
    with LLM(model, context=WINDOW, packed=False) as llm:
        for ids in windows:
            yield llm.logits(ids).copy()


def price(
    model: Path, windows: list[list[int]], plain: list[np.ndarray], choices: dict[str, str]
) -> dict[str, float]:
    """Mean divergence and share of unchanged likeliest tokens. plain: logits as the model was."""
    with tempfile.TemporaryDirectory() as folder:
        packed = pack(model, Path(folder, "packed"), **choices)
        divergences, same = [], []
        for before, after in zip(plain, rows(packed, windows), strict=True):
            one, other = Softmax(before), Softmax(after)
            divergences.append(one.divergence_to(other))
            same.append(before.argmax(axis=1) == after.argmax(axis=1))
    return {
        "mean_kld": round(float(np.concatenate(divergences).mean()), 6),
        "same_top_1": round(float(np.concatenate(same).mean()), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    with LLM(args.model, context=WINDOW, packed=False) as llm:
        ids = llm.tokenizer.encode(args.text.read_text(encoding="utf-8")[: args.windows * 8192])
    windows = [ids[start : start + WINDOW] for start in range(0, args.windows * WINDOW, WINDOW)]
    plain = list(rows(args.model, windows))
    found = []
    for choices in CHOICES:
        cost = price(args.model, windows, plain, choices)
        found.append({"choices": choices, **cost})
        said = ", ".join(f"{part} {choice}" for part, choice in choices.items())
        print(f"{said:<26} KLD {cost['mean_kld']:.5f}   top-1 {cost['same_top_1']:.2%}", flush=True)
    table = {"model": args.model.stem, "tokens": sum(map(len, windows)), "measured": found}
    if args.write:
        PRICE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(table))


if __name__ == "__main__":
    main()
