"""Wrote quant_vectors_small_floats.json.gz with ml_dtypes 0.6.0, which the tests do not need.

Run with a Python that has numpy and ml_dtypes: python tests/golden/quant_vectors_small_floats.py
"""

from __future__ import annotations

import base64
import gzip
import json
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np

TYPES = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "E2M1": ml_dtypes.float4_e2m1fn,
}


def text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def probes(dtype: type, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every value, every midpoint and its neighbours, floats of all sizes, and specials."""
    finite = np.unique(values[np.isfinite(values)]).astype(np.float64)
    midpoints = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
    spread = rng.standard_normal(1500) * 2.0 ** rng.integers(-30, 20, 1500)
    near = [np.nextafter(midpoints, np.float32(s)).astype(np.float32) for s in (-np.inf, np.inf)]
    edges = np.float32([0.0, -0.0, 448, 464, 464.00003, 57344, 61439.996, 61440, 3e38, 1e-45])
    specials = np.float32([np.inf, -np.inf, np.nan])
    if dtype is ml_dtypes.float4_e2m1fn:
        edges, specials = np.clip(edges, -6, 6), specials[:0]
    parts = [finite, midpoints, *near, spread, edges, -edges, specials]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def round_up_blocks(rng: np.random.Generator) -> dict[str, str]:
    """MXFP4 blocks: scale 2^ceil(log2(max / 6)) by rational arithmetic, codes by ml_dtypes."""
    x = rng.standard_normal((96, 32)).astype(np.float32) * np.float32(2.0) ** rng.integers(
        -20, 20, (96, 1)
    ).astype(np.float32)
    x[:24] = rng.choice([0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 6, -0.25, -5, -6], (24, 32))
    x[:8, 0] = [6, np.nextafter(np.float32(6), np.float32(7)), 12, 3, 5.9999995, 1.5, 0.75, 24]
    exponents, codes = [], []
    for row in x:
        sixth = Fraction(float(np.abs(row).max() / np.float32(6)))
        power = next(k for k in range(-126, 128) if Fraction(2) ** k >= sixth)
        scaled = (row.astype(np.float64) / 2.0**power).astype(np.float32)
        exponents.append(power + 127)
        codes.append(scaled.astype(ml_dtypes.float4_e2m1fn).view(np.uint8))
    return {
        "x": text(x),
        "exponents": text(np.uint8(exponents)),
        "codes": text(np.stack(codes)),
    }


def main() -> None:
    rng = np.random.default_rng(20)
    vectors: dict[str, object] = {
        "encoding": "base64 of little-endian arrays: float32 x and values, uint8 codes"
    }
    for name, dtype in TYPES.items():
        count = 16 if name == "E2M1" else 256
        values = np.arange(count, dtype=np.uint8).view(dtype).astype(np.float32)
        x = probes(dtype, values, rng)
        codes = x.astype(dtype).view(np.uint8)
        vectors[name] = {"values": text(values), "x": text(x), "codes": text(codes)}
    vectors["MXFP4_ROUND_UP"] = round_up_blocks(rng)
    path = Path(__file__).with_suffix(".json.gz")
    path.write_bytes(gzip.compress(json.dumps(vectors).encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
