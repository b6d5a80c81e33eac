"""Owns the anatomy of a published model from two short ones of its kind, layers being alike.

A page shows every model in every quantization; counting all their layers takes seconds. What is
told here is equal, number for number, to `ingle.plan.anatomy`. It does not know quantizations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from ingle.plan.anatomy import Anatomy, Attention, Matrices, anatomy
from ingle.plan.catalog import Known
from ingle.plan.subject import from_config

_PERIOD = 2  # layers; gpt-oss's attention sees a window in every other one
_SAME = ("num_local_experts", "num_experts_per_tok", "max_context_tokens", "kv_value_bytes")


def stretched(known: Known, quant: str | None, gpu: bool = False) -> Anatomy:
    """The anatomy of a known model in a quantization. Raises IngleError."""
    key = "n_layer" if "n_layer" in known.config else "num_hidden_layers"
    layers = known.config[key]
    if layers % _PERIOD or layers <= 2 * _PERIOD:
        return anatomy(from_config(known.name, known.config, quant), gpu)
    short, tall = (
        anatomy(from_config(known.name, known.config | {key: count}, quant), gpu)
        for count in (_PERIOD, 2 * _PERIOD)
    )
    times = layers // _PERIOD - 1
    changed = {
        field.name: _extended(getattr(short, field.name), getattr(tall, field.name), times)
        for field in fields(Anatomy)
        if field.name not in _SAME
    }
    return replace(short, **changed)


def _extended(short: Any, tall: Any, times: int) -> Any:
    """short, and `times` the difference; numbers alone change."""
    if isinstance(short, Mapping):
        return {name: _extended(short[name], tall[name], times) for name in short}
    if isinstance(short, tuple):
        return tuple(_extended(*pair, times) for pair in zip(short, tall, strict=True))
    if isinstance(short, Attention):
        layers = _extended(short.layers, tall.layers, times)
        flops = _extended(short.flops_per_pair, tall.flops_per_pair, times)
        return replace(short, layers=layers, flops_per_pair=flops)
    if isinstance(short, Matrices):
        nbytes = _extended(short.nbytes, tall.nbytes, times)
        return replace(short, nbytes=nbytes, flops=_extended(short.flops, tall.flops, times))
    return short + times * (tall - short) if isinstance(short, int) else short
