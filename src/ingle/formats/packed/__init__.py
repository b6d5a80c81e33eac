"""Owns packed files: a model's weights in the kernel layout, ready to run from the memory map."""

from ingle.formats.packed.file import PackedFile, PackedTiles, is_packed
from ingle.formats.packed.job import pack, unpack

__all__ = ["PackedFile", "PackedTiles", "is_packed", "pack", "unpack"]
