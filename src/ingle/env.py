"""Owns every environment variable ingle reads. No other module touches ``os.environ``."""

from __future__ import annotations

import os
from pathlib import Path


def models_dir() -> Path:
    """Folder in which models are kept: ``INGLE_MODELS``, else ``~/.ingle/models``."""
    value = os.environ.get("INGLE_MODELS")
    return Path(value).expanduser() if value else Path.home() / ".ingle" / "models"


def forced_isa() -> str | None:
    """Instruction set forced by ``INGLE_CPU`` (generic, avx2, avx512vnni ...), or None."""
    return os.environ.get("INGLE_CPU") or None


def wants_traceback() -> bool:
    """Whether ``INGLE_TRACEBACK`` asks to see where in ingle a bug sits."""
    return bool(os.environ.get("INGLE_TRACEBACK"))


def for_child(**changes: str) -> dict[str, str]:
    """Environment for a program that ingle starts: this one's, with `changes`."""
    return {**os.environ, **changes}
