"""Owns a caller's limit of memory, held against what the plan says a model needs.

It does not know how a plan is made; nothing is loaded before it is known that all fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingle.errors import IngleError, UnsupportedError
from ingle.plan.anatomy import anatomy
from ingle.plan.limits import parse_size
from ingle.plan.memory import largest_context, plan_memory
from ingle.plan.subject import open_subject

_GIB = 1 << 30


def allowed_bytes(memory: Any, max_memory: Any) -> tuple[str, int] | None:
    """Who set which limit: (setting, bytes), or None.

    memory: a size ("8GiB", bytes). max_memory: one by device, as in transformers: {"cpu": "8GiB"}.
    Raises IngleError for what is no size, UnsupportedError for a device that is not used here.

    >>> allowed_bytes("8GiB", None)
    ('memory', 8589934592)
    >>> allowed_bytes(None, {"cpu": "4 GB"})
    ('max_memory', 4000000000)
    """
    if memory is not None and max_memory is not None:
        rule = "one limit can be set, but got memory and max_memory"
        raise IngleError("memory", rule, "say memory alone")
    if memory is not None:
        return "memory", _size(memory, "memory")
    if max_memory is None:
        return None
    if not isinstance(max_memory, Mapping) or "cpu" not in max_memory:
        rule = f"it must name a limit for cpu, but got {max_memory!r:.60}"
        raise IngleError("max_memory", rule, 'for example max_memory={"cpu": "8GiB"}')
    others = [device for device, size in max_memory.items() if device != "cpu" and size]
    if others:
        rule = f"memory must be the CPU's, but got {others[0]!r:.60} too"
        raise UnsupportedError("max_memory", rule, "leave it out: this build computes on the CPU")
    return "max_memory", _size(max_memory["cpu"], "max_memory")


def check_fits(
    limit: tuple[str, int], path: Path, context_tokens: int | None, usual: int, kv_type: str
) -> None:
    """Raise IngleError, with the figures, unless the model fits a limit of `allowed_bytes`.

    context_tokens: None for the usual one, or the model's own limit if that is less. kv_type: what
    keys and values are kept as.
    """
    setting, nbytes = limit
    model = anatomy(open_subject(str(path)), kv_type=kv_type)
    tokens = context_tokens or min(usual, model.max_context_tokens)
    needed = plan_memory(model, tokens).total_bytes
    if needed <= nbytes:
        return
    rule = f"the model needs {needed / _GIB:.2f} GiB with a context of {tokens:,} tokens"
    most = min(largest_context(model, nbytes), tokens)
    hint = f"context={most} would fit" if most else "a smaller model or quantization needs less"
    raise IngleError(setting, f"{rule}, but got a limit of {nbytes / _GIB:.2f} GiB", hint)


def _size(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        rule = f"it must be a size, but got {value!r:.60}"
        raise IngleError(where, rule, 'for example "8GiB", or a number of bytes')
    return parse_size(str(value), where)
