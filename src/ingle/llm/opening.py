"""Owns what the settings of `LLM` must be before a model is looked for.

Nothing is loaded here, and no file opened.
"""

from __future__ import annotations

from typing import Any

from ingle.errors import IngleError, UnsupportedError
from ingle.ops import kv_dtype


def check_arithmetic(backend: str, emulate: str | None, exact: bool, kv_type: str | None) -> None:
    """Raise IngleError for settings of the computation that contradict each other."""
    if emulate is not None and backend != "reference":
        rule = f"emulation needs the backend reference, but got {backend} and {emulate}"
        raise IngleError("emulate", rule, 'say backend="reference" too')
    if exact and emulate is not None:
        rule = f"exact arithmetic emulates nothing, but got {emulate}"
        raise IngleError("exact", rule, "leave one of them out")
    if kv_type is not None:
        kv_dtype(kv_type)


def check_counts(**counts: int | None) -> None:
    """Raise IngleError, by its name, for a count that is none. None stands for the usual one."""
    for name, value in counts.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            rule = f"{name} must be a whole number from 1 up, but got {value!r:.60}"
            raise IngleError(name, rule, "leave it out for the usual one")


def allowed(memory: Any, max_memory: Any, backend: str) -> tuple[str, int] | None:
    """The limit of memory: (setting, bytes), or None. Raises IngleError, UnsupportedError."""
    if memory is None and max_memory is None:
        return None
    from ingle.llm.allowance import allowed_bytes  # here, for few set limits and all start up

    if backend != "cpu":
        rule = f"a limit of memory needs the backend cpu, but got {backend}"
        raise UnsupportedError("memory", rule, "leave one of them out")
    return allowed_bytes(memory, max_memory)
