"""Owns the native CPU backend."""

from ingle.backends.cpu.backend import CpuBackend

__all__ = ["CpuBackend"]
