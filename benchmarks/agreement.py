"""Agreement of ingle with another engine's logits on the same tokens: top-1 and KL divergence.

    python benchmarks/agreement.py MODEL GOLDEN.npz FULL_LOGITS.npy [--backend cpu]

GOLDEN.npz and FULL_LOGITS.npy come from tests/golden/llama_cpp_logits.py. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from numpy.typing import NDArray

from ingle import LLM


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 log-probabilities of rows."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("golden")
    parser.add_argument("full")
    parser.add_argument("--backend", default="cpu")
    args = parser.parse_args()

    ids = np.load(args.golden)["ids"].astype(int).tolist()
    theirs = np.load(args.full, mmap_mode="r")
    with LLM(args.model, backend=args.backend, context=len(ids)) as llm:
        ours = llm.logits(ids)
    divergences = []
    for start in range(0, len(ids), 100):
        rows = slice(start, start + 100)
        p, q = log_softmax(np.array(theirs[rows])), log_softmax(ours[rows])
        divergences.append((np.exp(p) * (p - q)).sum(axis=1))
    kld = np.concatenate(divergences)
    top1 = float(np.mean(np.argmax(theirs, axis=1) == np.argmax(ours, axis=1)))
    print(f"tokens            {len(ids)}")
    print(f"top-1 agreement   {top1:.4f}")
    print(f"mean KLD          {kld.mean():.6f}")
    print(f"median, 99%, max  {np.median(kld):.6f} {np.quantile(kld, 0.99):.6f} {kld.max():.6f}")
    print(json.dumps({"tokens": len(ids), "top1_agreement": top1, "mean_kld": float(kld.mean())}))


if __name__ == "__main__":
    main()
