"""Owns number formats: block layouts, codecs, the kernel layout. Knows no file and no model."""

from ingle.numerics.catalog import FORMATS, by_ggml_id
from ingle.numerics.format import Format, decode, encode

__all__ = ["FORMATS", "Format", "by_ggml_id", "decode", "encode"]
