"""Owns the words by which tables of quality name a file: which type its matrices get.

It does not know how files are made nor measured.
"""

from __future__ import annotations

from ingle.quantize.recipe import Override, Recipe


def recipe_of(row: str, rest: str = "Q8_0") -> Recipe:
    """TYPE for every matrix, or REGEX=TYPE for those of such names and `rest` for all others."""
    _, equals, type_name = row.rpartition("=")
    overrides = (Override.parse(row),) if equals else ()
    return Recipe(rest if equals else type_name, pure=True, overrides=overrides, keep_mxfp4=False)
