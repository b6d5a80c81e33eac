"""Wrote quant_vectors_q6_0.json.gz with ik_llama.cpp's own functions, which the tests do not need.

    python tests/golden/quant_vectors_q6_0.py LIBGGML.so

where the library holds quantize_row_q6_0_ref and dequantize_row_q6_0 of ik_llama.cpp's
ggml-quants.c, compiled without contraction of multiplications and additions.
"""

from __future__ import annotations

import base64
import ctypes
import gzip
import json
import sys
from pathlib import Path

import numpy as np

BLOCK, BLOCK_BYTES = 32, 26


def weights(rng: np.random.Generator) -> np.ndarray:
    """Blocks (n, 32) of all sizes: bell curves, heavy tails, ties, zeros, a few large ones."""
    size = 2.0 ** rng.integers(-20, 10, (256, 1))
    x = rng.standard_normal((256, BLOCK)) * size
    x[64:128] = rng.standard_t(3, (64, BLOCK)) * size[64:128]
    x[128:160] = rng.integers(-32, 32, (32, BLOCK)) / 32
    x[160:192] = np.where(rng.random((32, BLOCK)) < 0.9, 0, x[160:192])
    x[192:200] = 0
    x[200:208] = 1
    x[208:216, ::2] = -3
    return x.astype(np.float32)


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def main() -> None:
    library = ctypes.CDLL(str(Path(sys.argv[1]).resolve()), ctypes.RTLD_GLOBAL)
    rng = np.random.default_rng(6)
    x = weights(rng)
    encoded = np.zeros((len(x), BLOCK_BYTES), np.uint8)
    library.quantize_row_q6_0_ref(pointer(x), pointer(encoded), ctypes.c_int64(x.size))
    blocks = rng.integers(0, 256, (256, BLOCK_BYTES), np.uint8)
    blocks[:, 1] &= 0xBF  # finite scales
    decoded = np.zeros((len(blocks), BLOCK), np.float32)
    library.dequantize_row_q6_0(pointer(blocks), pointer(decoded), ctypes.c_int64(decoded.size))
    vectors = {
        "encoding": "base64 of little-endian arrays: float32 x and values, uint8 blocks of 26",
        "x": text(x),
        "encoded": text(encoded),
        "blocks": text(blocks),
        "values": text(decoded),
    }
    path = Path(__file__).with_suffix(".json.gz")
    path.write_bytes(gzip.compress(json.dumps(vectors).encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
