"""Owns INT8 post-training quantization: Q(x) = round(x / scale) + zero point."""

from ingle.quantize.int8.scheme import Scheme

__all__ = ["Scheme"]
