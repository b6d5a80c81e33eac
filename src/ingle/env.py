"""Owns the reading of environment variables. No other module touches ``os.environ``.

Variables that are settings (`INGLE_CONTEXT` ...) are named in `config`, which reads them here.
"""

from __future__ import annotations

import os
from pathlib import Path

from ingle.errors import IngleError


def text(name: str) -> str | None:
    """The variable's value; None when it is unset or empty."""
    return os.environ.get(name) or None


def flag(name: str) -> bool:
    """Whether the variable says yes, in the spellings that Hugging Face's tools take."""
    return (os.environ.get(name) or "").upper() in {"1", "ON", "YES", "TRUE"}


def folder(value: str, where: str) -> Path:
    """`value` as an absolute path, ``~`` expanded. Raises IngleError if there is no such home."""
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        rule = f"the home folder in {value} must be known, but got none"
        raise IngleError(where, rule, f"set {where} to a folder") from None


def home_dir() -> Path:
    """ingle's own folder: ``INGLE_HOME``, else ``~/.ingle``; absolute."""
    return folder(text("INGLE_HOME") or "~/.ingle", "INGLE_HOME")


def huggingface_cache() -> Path:
    """Folder of Hugging Face's cache, where its own tools keep it."""
    home = text("HF_HOME") or str(Path(text("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
    cache = text("HF_HUB_CACHE") or text("HUGGINGFACE_HUB_CACHE") or str(Path(home, "hub"))
    return folder(os.path.expandvars(cache), "HF_HUB_CACHE")


def api_key() -> str | None:
    """A key of the server's, ``INGLE_API_KEY``: it opens it, and commands that ask it carry it."""
    return text("INGLE_API_KEY")


def forced_isa() -> str | None:
    """Instruction set forced by ``INGLE_CPU`` (generic, avx2, avx512vnni ...), or None."""
    return text("INGLE_CPU")


def wants_traceback() -> bool:
    """Whether ``INGLE_TRACEBACK`` asks to see where in ingle a bug sits."""
    return bool(text("INGLE_TRACEBACK"))


def without_telemetry() -> None:
    """Keep Hugging Face's client from telling its hub more than which file is asked for.

    Unless HF_HUB_DISABLE_TELEMETRY says otherwise. Call it before the client is imported.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def for_child(**changes: str) -> dict[str, str]:
    """Environment for a program that ingle starts: this one's, with `changes`."""
    return {**os.environ, **changes}
