"""Owns E2M1, the 4-bit float of MXFP4 and NVFP4: sign, two exponent bits, one mantissa bit.

Values are kept doubled (0 1 2 3 4 6 8 12) so that they are integers; block scales are halved in
exchange. It does not know block scales.
"""

from __future__ import annotations

import numpy as np

from ingle.numerics.format import Bytes, Floats

# GGML's table: code 8, minus zero, decodes to +0 because the table holds integers.
DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)
# OpenAI's table: code 8 decodes to -0.
DOUBLED_SIGNED_ZERO = np.where(np.arange(16) == 8, np.float32(-0.0), DOUBLED)

_MIDPOINTS = (0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0)  # between neighbours of DOUBLED


def codes_ties_to_zero(x: Floats, half_scale: Floats) -> Bytes:
    """Nearest code of x / (2 * half_scale), a tie taking the smaller magnitude (GGML's scan).

    Minus zero is never produced, and a half_scale of 0 gives code 0. The midpoints times a scale of
    four mantissa bits are exact, so this equals a scan over all sixteen rounded distances.
    """
    magnitude = np.abs(x)
    index = np.zeros(x.shape, np.uint8)
    for midpoint in _MIDPOINTS:
        index += magnitude > half_scale * np.float32(midpoint)
    index *= half_scale > 0
    return index | (((x < 0) & (index > 0)).astype(np.uint8) << np.uint8(3))


def codes_ties_to_even(x: Floats, half_scale: Floats) -> Bytes:
    """Nearest code of x / (2 * half_scale), a tie taking the even code; keeps the sign of zero."""
    magnitude = np.abs(x)
    index = np.zeros(x.shape, np.uint8)
    for lower, midpoint in enumerate(_MIDPOINTS):
        edge = half_scale * np.float32(midpoint)
        index += magnitude >= edge if lower % 2 else magnitude > edge
    return index | (np.signbit(x).astype(np.uint8) << np.uint8(3))
