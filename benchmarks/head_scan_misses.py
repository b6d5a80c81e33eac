"""How often a head in two stages misses the likeliest token: none is the claim.

    python benchmarks/head_scan_misses.py MODEL.gguf TEXT [--tokens 100000] [--scan q4]

Packs the model with a scan of its head, runs windows of 512 tokens of the text through both, and
counts positions whose likeliest token differs. A window's logits are in memory at a time. Last
line: JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from ingle.formats.packed import pack
from ingle.llm import LLM

WINDOW = 512


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--scan", default="q4")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scanned = pack(args.model, Path(folder, "packed"), head_scan=args.scan)
        with (
            LLM(args.model, context=WINDOW, packed=False) as whole,
            LLM(scanned, context=WINDOW) as two_stages,
        ):
            ids = whole.tokenizer.encode(args.text.read_text(encoding="utf-8"))[: args.tokens]
            seen = missed = 0
            for start in range(0, len(ids), WINDOW):
                window = ids[start : start + WINDOW]
                best = whole.logits(window).argmax(axis=1)
                missed += int(np.count_nonzero(best != two_stages.logits(window).argmax(axis=1)))
                seen += len(window)
    print(f"{seen:,} tokens, {missed} with another likeliest token")
    said = {"model": args.model.stem, "scan": args.scan, "tokens": seen, "missed": missed}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
