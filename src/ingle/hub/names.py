"""Owns the ways to name a model: a known name, a path, ``user/repo``. Not what happens next."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ingle.errors import IngleError, ModelNotFoundError, UnsupportedError
from ingle.hub import registry, store
from ingle.hub.fetch import fetch
from ingle.hub.registry import Entry
from ingle.hub.store import Listing

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_TAGGED = re.compile(r"[A-Za-z][\w.-]*:[\w.-]+", re.ASCII)
_SUFFIXES = (".gguf", ".safetensors")


def resolve(name: str | Path) -> Path:
    """The file or folder that `name` stands for, fetched first if it is a known name and absent.

    name: a known name (``smollm2:135m``), an existing path, or ``user/repo``.
    Raises ModelNotFoundError for anything else, UnsupportedError for a repository,
    DownloadError when fetching fails.
    """
    text = str(name)
    entry = registry.find(text)
    if entry is not None:
        return store.installed(entry) or fetch(entry)
    path = _existing(text)
    if path is not None:
        return path
    if text.endswith(_SUFFIXES):
        rule = "a model file must exist, but got no file of that name"
        raise ModelNotFoundError(text, rule, "check the path")
    if _REPOSITORY.fullmatch(text):
        raise UnsupportedError(
            text,
            "a model must be a known name or a local path, but got a repository of a model hub",
            "Hugging Face downloads arrive with `ingle pull`; until then name a local GGUF file",
        )
    raise _unknown(text)


def is_model_word(word: str) -> bool:
    """Whether the first word of a command line names a model rather than being a prompt.

    True for a known name, an existing path, ``user/repo``, and for what can only be meant as a
    model: ``name:tag`` and ``*.gguf``. Words with blanks are prompts unless such a path exists.
    """
    if registry.find(word) is not None or _existing(word) is not None:
        return True
    if any(letter.isspace() for letter in word):
        return False
    patterns = (_REPOSITORY, _TAGGED)
    return word.endswith(_SUFFIXES) or any(pattern.fullmatch(word) for pattern in patterns)


def pull(name: str) -> Path:
    """Fetch the known model `name` (nothing is done if it is here) and return its path."""
    entry = registry.find(name)
    return resolve(name) if entry is None else fetch(entry)


def listing() -> list[Listing]:
    """Every known model in the order of names, with its path if it is on this machine."""
    return [
        Listing(entry.name, entry.summary, entry.file_bytes, store.installed(entry))
        for _, entry in sorted(registry.REGISTRY.items())
    ]


def remove(name: str) -> int:
    """Remove the known model `name` from this machine and return the bytes that are free again.

    Raises ModelNotFoundError if there is no such name or it is not here. Paths are not removed.
    """
    entry = _entry(name)
    with store.changing(entry, on_wait=_tell_waiting):
        path = store.path_of(entry)
        if not path.is_file():
            rule = "a model must be on this machine to be removed, but got none"
            raise ModelNotFoundError(entry.name, rule, "`ingle list` shows what is here")
        freed_bytes = path.stat().st_size
        store.discard(entry)
    return freed_bytes


def _entry(name: str) -> Entry:
    entry = registry.find(name)
    if entry is None:
        raise _unknown(name)
    return entry


def _existing(text: str) -> Path | None:
    """`text` as a path if something lies there; no text, however odd, is an error."""
    try:
        path = Path(text).expanduser()
        return path if text and path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL byte, ~ of an unknown user
        return None


def _unknown(text: str) -> IngleError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return ModelNotFoundError(
        "model",
        f"a model must be a known name or an existing path, but got {shown!r}",
        "known names like it: " + ", ".join(registry.close_names(text)),
    )


def _tell_waiting() -> None:
    print("another ingle is changing this model; waiting for it", file=sys.stderr)
