"""Owns importance matrices: how large each input column of each matrix is on real text."""

from ingle.quantize.imatrix.file import read_imatrix, write_imatrix
from ingle.quantize.imatrix.table import Entry, Imatrix

__all__ = ["Entry", "Imatrix", "read_imatrix", "write_imatrix"]
