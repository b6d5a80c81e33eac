"""Owns lossless conversion of models from one layout to another. Nothing is ever requantized."""

from ingle.formats.convert.job import TARGETS, GgufModel, as_gguf, convert, write_huggingface

__all__ = ["TARGETS", "GgufModel", "as_gguf", "convert", "write_huggingface"]
