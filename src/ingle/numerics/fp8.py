"""Owns the 8-bit floats E4M3FN and E5M2 (OCP 8-bit Floating Point Specification v1.0).

They carry no scale; a tensor's or a block's scale is the business of whoever stores it beside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingle.numerics.format import Bytes, Floats, Format


@dataclass(frozen=True)
class Float8:
    """An 8-bit float: sign, exponent, `mantissa_bits`.

    largest: code of the largest finite magnitude; overflow: code to which larger ones go.
    """

    mantissa_bits: int
    bias: int
    largest: int
    overflow: int

    def table(self) -> Floats:
        """Value of every byte, float32 (256,)."""
        magnitude = np.arange(128)
        exponent = magnitude >> self.mantissa_bits
        fraction = np.ldexp((magnitude & ((1 << self.mantissa_bits) - 1)), -self.mantissa_bits)
        subnormal = np.ldexp(fraction, 1 - self.bias)
        values = np.where(exponent == 0, subnormal, np.ldexp(1 + fraction, exponent - self.bias))
        values[self.largest + 1 :] = np.nan
        if self.overflow == self.largest + 1 and self.overflow < 0x7F:
            values[self.overflow] = np.inf
        return np.concatenate([values, -values]).astype(np.float32)

    def round(self, x: Floats) -> Bytes:
        """Codes of float32 values, ties to even; too large becomes infinity, or NaN without one."""
        magnitude = x.view(np.uint32) & np.uint32(0x7FFFFFFF)
        drop = 23 - self.mantissa_bits
        odd = (magnitude >> np.uint32(drop)) & np.uint32(1)
        rounded = magnitude + (np.uint32((1 << drop - 1) - 1) + odd) >> np.uint32(drop)
        normal = rounded.astype(np.int64) - ((127 - self.bias) << self.mantissa_bits)
        codes = np.where(normal < 1 << self.mantissa_bits, self._subnormal(magnitude), normal)
        codes = np.where(codes > self.largest, self.overflow, codes)
        codes = np.where(magnitude > 0x7F800000, 0x7F, codes)
        codes |= np.signbit(x).astype(np.int64) << 7
        return codes.astype(np.uint8)

    def _subnormal(self, magnitude: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Codes of magnitudes below the smallest normal: the float adder itself rounds to even."""
        unit = np.float32(2.0 ** (1 - self.bias - self.mantissa_bits + 23))
        shifted = (magnitude.view(np.float32) + unit).view(np.uint32)
        return shifted.astype(np.int64) - int(unit.view(np.uint32))


E4M3FN = Float8(mantissa_bits=3, bias=7, largest=0x7E, overflow=0x7F)
E5M2 = Float8(mantissa_bits=2, bias=15, largest=0x7B, overflow=0x7C)

_E4M3FN_TABLE = E4M3FN.table()
_E5M2_TABLE = E5M2.table()


def _decode_e4m3fn(blocks: Bytes) -> Floats:
    return _E4M3FN_TABLE[blocks]


def _decode_e5m2(blocks: Bytes) -> Floats:
    return _E5M2_TABLE[blocks]


# Named as safetensors names them.
F8_E4M3 = Format("F8_E4M3", None, 1, 1, _decode_e4m3fn, E4M3FN.round, keeps_nonfinite=True)
F8_E5M2 = Format("F8_E5M2", None, 1, 1, _decode_e5m2, E5M2.round, keeps_nonfinite=True)
