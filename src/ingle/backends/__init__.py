"""Owns backends by name. Each makes weight handles and runs models; none knows another."""

from __future__ import annotations

from importlib import import_module

from ingle.errors import IngleError
from ingle.ops import Backend

NAMES = ("cpu", "reference")


def make_backend(
    name: str, threads: int | None = None, emulate: str | None = None, exact: bool = False
) -> Backend:
    """`cpu` (native) or `reference` (numpy; emulate "q8" repeats the kernels' arithmetic)."""
    if name not in NAMES:
        raise IngleError("backend", f"name must be one of {', '.join(NAMES)}, but got {name}")
    module = import_module(f"ingle.backends.{name}")
    if name == "cpu":
        backend: Backend = module.CpuBackend(threads, exact)
    else:
        backend = module.ReferenceBackend(emulate or "float")
    return backend
