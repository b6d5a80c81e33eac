"""Owns the wish for a quantization, held against what a model's file has. Nothing is converted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingle.errors import IngleError, UnsupportedError
from ingle.llm.source import Source

# What other tools call formats, and families of them: a wish is met by any of its formats.
_FAMILIES: Mapping[str, frozenset[str]] = {
    "8BIT": frozenset({"Q8_0", "INT8", "I8", "F8_E4M3", "F8_E5M2"}),
    "4BIT": frozenset({"Q4_0", "Q4_1", "Q4_K", "IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4"}),
    "INT8": frozenset({"INT8", "I8"}),
    "FP8": frozenset({"F8_E4M3", "F8_E5M2"}),
    "FP16": frozenset({"F16"}),
    "FP32": frozenset({"F32"}),
}


def wanted(quantization: Any, others: Mapping[str, Any]) -> tuple[str, str] | None:
    """Who asked for which quantization: (setting, name in capitals), or None.

    Raises IngleError for a name that is no text and for two wishes at once.

    >>> wanted("mxfp4", {})
    ('quantization', 'MXFP4')
    >>> wanted(None, {"load_in_8bit": True})
    ('load_in_8bit', '8BIT')
    """
    flags = {"load_in_8bit": "8BIT", "load_in_4bit": "4BIT"}
    wishes = [(flag, name) for flag, name in flags.items() if others.get(flag)]
    if quantization is not None:
        if not isinstance(quantization, str) or not quantization:
            rule = f"it must be the name of a format, but got {quantization!r:.60}"
            raise IngleError("quantization", rule, 'for example quantization="mxfp4"')
        wishes.append(("quantization", quantization.upper().replace("-", "_")))
    if len(wishes) > 1:
        rule = f"one quantization can be asked for, but got {' and '.join(w for w, _ in wishes)}"
        raise IngleError("quantization", rule)
    return wishes[0] if wishes else None


def check_stored(wish: tuple[str, str] | None, source: Source) -> None:
    """Raise UnsupportedError unless the model, or most of it, is of the format wished for."""
    if wish is None:
        return
    from ingle.formats.summary import summarize  # here, for few wish and all wait for start-up

    setting, name = wish
    shares = summarize(source.container).shares
    stored = source.facts.quantization.upper() or (shares[0].format if shares else "nothing")
    if stored not in _FAMILIES.get(name, {name, *_mixture_base(name)}):
        rule = f"the model must be stored as {name} to be run so, but got one of {stored}"
        hint = "leave it out, or name a file of that quantization; `ingle quantize` makes one"
        raise UnsupportedError(setting, rule, hint)


def _mixture_base(name: str) -> set[str]:
    """Q4_K for llama.cpp's Q4_K_M: a mixture is named after the format most of it has."""
    base, _, size = name.rpartition("_")
    return {base} if size in ("S", "M", "L", "XL") else set()
