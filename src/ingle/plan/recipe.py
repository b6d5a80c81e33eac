"""Owns naming a quantization: one format for every matrix, or one for experts and one for the rest.

It does not know how weights are quantized, nor what was lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingle.errors import UnsupportedError
from ingle.numerics import FORMATS
from ingle.numerics.int8_blocks import INT8

DENSE_BESIDE_MXFP4 = "Q8_0"  # as the published GGUF files have it
_PLANNED = tuple(name for name in FORMATS if name != INT8.name)  # which has folders of its own


@dataclass(frozen=True)
class Recipe:
    """experts, dense: names of number formats. Norms, biases and routers stay F32."""

    experts: str
    dense: str

    @classmethod
    def parse(cls, text: str, has_experts: bool) -> Recipe:
        """`T`, or `EXPERTS+DENSE`; `MXFP4` alone means MXFP4+Q8_0 in a mixture of experts.

        UnsupportedError for an unknown format, or for two where there are no experts.
        """
        first, plus, second = text.upper().partition("+")
        for name in (first, second) if plus else (first,):
            if name not in _PLANNED:
                known = ", ".join(_PLANNED)
                rule = f"format must be one of {known}, or EXPERTS+REST, but got {text!a:.80}"
                raise UnsupportedError("--quant", rule, "for example Q8_0, or MXFP4+BF16")
        if plus and not has_experts:
            rule = f"a model without experts has one format, but got {text!a:.80}"
            raise UnsupportedError("--quant", rule, f"say {second}")
        if not plus and first == "MXFP4" and has_experts:
            second = DENSE_BESIDE_MXFP4
        return cls(first, second or first)

    def __str__(self) -> str:
        return self.experts if self.experts == self.dense else f"{self.experts}+{self.dense}"
