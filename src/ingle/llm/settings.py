"""Owns what may be set when a model is opened, in ingle's words and in those of other tools.

The spellings of transformers, vLLM and llama-cpp-python are read where they mean something here.
What this build cannot do is refused with a hint, never ignored. It does not know how a model is
opened.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from ingle.errors import IngleError, UnsupportedError


class OtherSettings(TypedDict, total=False):
    """Settings of `LLM` under the names that users of other tools bring.

    max_model_len (vLLM), n_ctx (llama-cpp-python) and num_ctx (Ollama) are `context`; n_threads is
    `threads`. The rest is accepted as far as one machine without a GPU can follow.
    """

    max_model_len: int | None
    n_ctx: int | None
    num_ctx: int | None
    n_threads: int | None
    load_in_8bit: bool | None
    load_in_4bit: bool | None
    dtype: Any
    torch_dtype: Any
    device: str | None
    n_gpu_layers: int | None
    gpu_memory_utilization: float | None
    tensor_parallel_size: int | None
    pipeline_parallel_size: int | None
    data_parallel_size: int | None
    trust_remote_code: bool | None
    enforce_eager: bool | None
    low_cpu_mem_usage: bool | None
    attn_implementation: str | None


_ALIASES = {
    "max_model_len": "context",
    "n_ctx": "context",
    "num_ctx": "context",
    "n_threads": "threads",
}
_NO_GPU = "leave it out: this build computes on the CPU"
_ONE_MACHINE = "leave it out or say 1: this build runs a model in one process"


def renamed(own: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """`own` settings, completed by those of `others` that are the same thing by another name.

    Raises IngleError for a name that nobody knows and for a setting said twice, UnsupportedError
    for what this build cannot do.

    >>> renamed({"context": None, "threads": 2}, {"max_model_len": 512, "load_in_8bit": False})
    {'context': 512, 'threads': 2}
    """
    found = dict(own)
    for name, value in others.items():
        if name in _ALIASES:
            meant = _ALIASES[name]
            if value is not None and found[meant] is not None:
                rule = f"it is {meant} by another name, which is set, but got {value!r:.60} too"
                raise IngleError(name, rule, f"say {meant} alone")
            found[meant] = found[meant] if value is None else value
        elif name in _ACCEPTED:
            _accept(name, value)
        else:
            raise _unknown(name, (*own, *_ALIASES, *_ACCEPTED))
    return found


def check_placement(device_map: Any) -> None:
    """Raise UnsupportedError for any device but this machine's CPU.

    >>> check_placement("auto")
    >>> check_placement("cuda:0")
    Traceback (most recent call last):
    ...
    ingle.errors.UnsupportedError: [device_map] the device must be cpu or auto, but got 'cuda:0'.
    hint: leave it out: this build computes on the CPU
    """
    places = device_map.values() if isinstance(device_map, Mapping) else [device_map]
    for place in places:
        if not _is_cpu(place):
            rule = f"the device must be cpu or auto, but got {place!r:.60}"
            raise UnsupportedError("device_map", rule, _NO_GPU)


def _accept(name: str, value: Any) -> None:
    """Raise UnsupportedError unless `value` asks for what happens here anyway."""
    allows, rule, hint = _ACCEPTED[name]
    if value is not None and not allows(value):
        raise UnsupportedError(name, f"{rule}, but got {value!r:.60}", hint)


def _is_cpu(value: Any) -> bool:
    return value is None or str(value) in ("cpu", "auto")


def _is_one(value: Any) -> bool:
    return bool(value == 1)


def _anything(_: Any) -> bool:
    return True


_Rule = tuple[Callable[[Any], bool], str, str]
_DTYPE: _Rule = (
    lambda value: value == "auto",
    "weights are computed with as they are stored",
    'leave it out or say "auto"; exact=True keeps activations in float32',
)
_ONE: _Rule = (_is_one, "a model is run by one process", _ONE_MACHINE)
_ACCEPTED: Mapping[str, _Rule] = {
    "load_in_8bit": (_anything, "", ""),  # `stored.wanted` looks whether the file is so
    "load_in_4bit": (_anything, "", ""),
    "dtype": _DTYPE,
    "torch_dtype": _DTYPE,
    "device": (_is_cpu, "the device must be cpu or auto", _NO_GPU),
    "n_gpu_layers": (lambda value: value == 0, "layers stay on the CPU", _NO_GPU),
    "gpu_memory_utilization": (lambda _: False, "there must be a GPU to fill", _NO_GPU),
    "tensor_parallel_size": _ONE,
    "pipeline_parallel_size": _ONE,
    "data_parallel_size": _ONE,
    "trust_remote_code": (
        lambda value: value is False,
        "no code that comes with a model is ever run",
        "leave it out: every architecture here is ingle's own",
    ),
    "enforce_eager": (_anything, "", ""),  # nothing is captured or compiled either way
    "low_cpu_mem_usage": (_anything, "", ""),  # weights are mapped, never copied twice
    "attn_implementation": (
        lambda value: value == "eager",
        "attention has one implementation",
        "leave it out",
    ),
}


def _unknown(name: str, known: tuple[str, ...]) -> IngleError:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"settings are {', '.join(known)}"
    return IngleError("LLM", f"a setting must be a known one, but got {name}", hint)
