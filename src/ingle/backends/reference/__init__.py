"""Owns the numpy backend."""

from ingle.backends.reference.backend import ReferenceBackend

__all__ = ["ReferenceBackend"]
