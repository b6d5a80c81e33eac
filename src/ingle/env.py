"""Owns every environment variable ingle reads. No other module touches ``os.environ``."""

from __future__ import annotations

import os
from pathlib import Path

from ingle.errors import IngleError


def models_dir() -> Path:
    """Folder in which models are kept: ``INGLE_MODELS``, else ``~/.ingle/models``; absolute."""
    value = os.environ.get("INGLE_MODELS") or "~/.ingle/models"
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        rule = f"the home folder in {value} must be known, but got none"
        raise IngleError("INGLE_MODELS", rule, "set INGLE_MODELS to a folder") from None


def forced_isa() -> str | None:
    """Instruction set forced by ``INGLE_CPU`` (generic, avx2, avx512vnni ...), or None."""
    return os.environ.get("INGLE_CPU") or None


def wants_traceback() -> bool:
    """Whether ``INGLE_TRACEBACK`` asks to see where in ingle a bug sits."""
    return bool(os.environ.get("INGLE_TRACEBACK"))


def for_child(**changes: str) -> dict[str, str]:
    """Environment for a program that ingle starts: this one's, with `changes`."""
    return {**os.environ, **changes}
