"""Writes llama.cpp's next-token distributions on a text: the golden file `llama_cpp_logits.npz`.

    pip install llama-cpp-python==0.3.36
    python tests/golden/llama_cpp_logits.py MODEL.gguf TEXT OUT.npz [--full FILE.npy]

The golden file keeps, for each position, the 32 most likely ids with their log-probabilities; what
is left of the mass is one lump. KL divergence over that partition is a lower bound of the whole
(data-processing inequality), and with 32 ids it misses little; --full keeps every logit, float32,
to measure the exact figure with `benchmarks/agreement.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import llama_cpp
import numpy as np

KEPT = 32


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("out")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--full")
    args = parser.parse_args()

    llm = llama_cpp.Llama(
        args.model, n_ctx=args.tokens, n_batch=512, logits_all=True, n_threads=2, verbose=False
    )
    text = Path(args.text).read_bytes()[: args.tokens * 16]
    ids = llm.tokenize(text, add_bos=False, special=False)[: args.tokens]
    llm.eval(ids)
    logits = np.array(llm.scores[: len(ids)], np.float32)
    if args.full:
        np.save(args.full, logits)

    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    logprobs = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    top = np.argsort(-logprobs, axis=1, kind="stable")[:, :KEPT]
    np.savez_compressed(
        args.out,
        ids=np.asarray(ids, np.uint16),
        top_ids=top.astype(np.uint16),
        top_logprobs=np.take_along_axis(logprobs, top, axis=1).astype(np.float16),
        llama_cpp_python=llama_cpp.__version__,
    )


if __name__ == "__main__":
    main()
