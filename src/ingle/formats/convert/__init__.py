"""Owns lossless conversion of models from one layout to another. Nothing is ever requantized."""

from ingle.formats.convert.job import TARGETS, convert

__all__ = ["TARGETS", "convert"]
