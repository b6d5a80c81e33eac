"""Agreement of ingle with transformers in float32 on the same tokens of real text.

    python benchmarks/transformers_agreement.py FOLDER IDS.npz [--backend cpu] [--tokens N]

FOLDER is a checkpoint both can read (Hugging Face layout). IDS.npz holds `ids`, the tokens of a
text: tests/golden/llama_cpp_logits.npz fits SmolLM2's vocabulary. Needs the extra `oracle`, and
room for both models and both sets of logits. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from ingle.backends import make_backend
from ingle.formats import open_container
from ingle.models import load_model
from ingle.runtime import Engine

Logits = NDArray[np.float32]


def their_logits(folder: Path, ids: list[int]) -> Logits:
    """transformers, float32, one pass without a cache: (len(ids), vocab_size)."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        logits: Logits = model(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    return logits


def our_logits(folder: Path, ids: list[int], backend: str) -> Logits:
    """ingle in float arithmetic: (len(ids), vocab_size)."""
    chosen = make_backend(backend, exact=backend == "cpu")
    model = load_model(open_container(folder), chosen, len(ids))
    return Engine(model, chosen, len(ids)).logits(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("ids", type=Path)
    parser.add_argument("--backend", default="reference", choices=("reference", "cpu"))
    parser.add_argument("--tokens", type=int, default=2000)
    args = parser.parse_args()

    ids = np.load(args.ids)["ids"].astype(int).tolist()[: args.tokens]
    theirs = their_logits(args.folder, ids)
    ours = our_logits(args.folder, ids, args.backend)
    worst = max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))
    top1 = float(np.mean(ours.argmax(axis=1) == theirs.argmax(axis=1)))
    spread = float(theirs[::50].std())
    print(f"tokens                {len(ids)}")
    print(f"same next token       {top1:.4%}")
    print(f"worst difference      {worst:.3g} ({worst / spread:.3g} standard deviations)")
    print(json.dumps({"tokens": len(ids), "top1_agreement": top1, "worst": worst / spread}))


if __name__ == "__main__":
    main()
