"""Owns the ways to name a model: known names, paths, repositories, names given on this machine.

Not what happens next.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ingle.errors import IngleError, ModelNotFoundError, UnreachableError
from ingle.hub import huggingface, manifest, ollama, place, registry, shelf
from ingle.hub.fetch import fetch
from ingle.hub.progress import Progress
from ingle.hub.reference import Reference, parse

_TAGGED = re.compile(r"[A-Za-z][\w.-]*:[\w.-]+", re.ASCII)
_SUFFIXES = (".gguf", ".safetensors")
_PATH = re.compile(r"(?:\.{1,2}|~)?[/\\]\S*")  # ./x, ../x, ~/x, /x: what is typed for a file


def resolve(name: str | Path) -> Path:
    """The file or folder that `name` stands for, fetched first if it is not on this machine.

    name: a known name (``gpt-oss:20b``), one given by `create` or `copy`, an existing path, a
    repository of the model hub (``user/repo``, ``user/repo:Q4_K_M``), or a name of Ollama's.
    Raises ModelNotFoundError for anything else, DownloadError when fetching fails.
    """
    return _here(str(name)) or _fetched(str(name))


def is_model_word(word: str) -> bool:
    """Whether the first word of a command line names a model rather than being a prompt.

    True for a known name, an existing path, a repository, a name given on this machine or by
    Ollama, and for what can only be meant as a model: ``name:tag``, ``*.gguf``, ``./a/path``.
    Words with blanks are prompts unless such a path exists.
    """
    if is_known(word) or existing(word) is not None:
        return True
    if not word or any(letter.isspace() for letter in word):
        return False
    if word.endswith(_SUFFIXES) or _TAGGED.fullmatch(word) or parse(word) or _PATH.fullmatch(word):
        return True
    return manifest.exists(word) or ollama.find(word) is not None


def is_known(word: str) -> bool:
    """Whether a word is in ingle's own table of names, on this machine or not."""
    return bool(registry.find(word) or registry.find_repository(word))


def pull(name: str, told: Progress | None = None) -> Path:
    """Fetch the newest of the model `name` and return its path.

    told: of the progress, in place of stderr; what it raises ends the pull, and the next one goes
    on from there.

    What Ollama or LM Studio have is left to them and used as it is; so is what cannot be asked
    for now but is here. Raises IngleError.
    """
    entry = registry.find(name)
    if entry is not None:
        return fetch(entry, told)
    reference = _reference(name)
    found = place.find(name)
    if reference is None or (found and found.owner in (place.OLLAMA, place.LM_STUDIO)):
        return resolve(name)
    try:
        return huggingface.pull(_kept_name(name, reference), reference, told)
    except UnreachableError as error:
        if found is None:
            raise
        if told is None:
            print(f"{error}\nusing what is here", file=sys.stderr)
        else:
            told.note(f"{error}\nusing what is here")
        return found.path


def locate(name: str) -> Path:
    """Where the model `name` lies; nothing is fetched.

    Raises ModelNotFoundError, telling a name that could be fetched from one that nobody knows.
    """
    path = _here(name)
    if path is not None:
        return path
    if registry.find(name) or _reference(name):
        rule = "a model must be on this machine for this, but got none"
        raise ModelNotFoundError(name, rule, f"`ingle pull {name}` fetches it")
    raise unknown(name)


def unknown(text: str) -> IngleError:
    """What to raise for a name that nothing answers to."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    if _PATH.fullmatch(text):
        rule = "a model's file or folder must exist, but got nothing at that path"
        return ModelNotFoundError(shown, rule, "check the path; `ingle list` shows what is here")
    return ModelNotFoundError(
        "model",
        f"a model must be a known name, an existing path or user/repo, but got {shown!r}",
        "known names like it: " + ", ".join(registry.close_names(text)),
    )


def _here(name: str) -> Path | None:
    made = place.bases(name)
    if made:
        return resolve(made[-1].base)
    known = registry.find(name) or registry.find_repository(name)
    path = None if known else existing(name) or _copy_of_gone(name)
    if path is not None:
        return path
    if not known and name.endswith(_SUFFIXES) and not _explicit(name):
        rule = "a model file must exist, but got no file of that name"
        raise ModelNotFoundError(name, rule, "check the path; `ingle list` shows what is here")
    found = place.find(name)
    return found.path if found else None


def _fetched(name: str) -> Path:
    entry = registry.find(name)
    if entry is not None:
        return fetch(entry)
    reference = _reference(name)
    if reference is None:
        raise unknown(name)
    return huggingface.pull(_kept_name(name, reference), reference)


def _reference(name: str) -> Reference | None:
    known = registry.find_repository(name)
    return known.reference if known else parse(name)


def _kept_name(name: str, reference: Reference) -> str:
    return registry.full_name(name) if registry.find_repository(name) else str(reference)


def _explicit(name: str) -> bool:
    """Whether a word that ends like a file names a repository's file: ``user/repo:x.gguf``."""
    reference = parse(name)
    return reference is not None and bool(reference.wish)


def _copy_of_gone(text: str) -> Path | None:
    """The packed copy of a file that lay at a path."""
    try:
        return shelf.copy_of(Path(text).expanduser()) if text else None
    except (OSError, ValueError, RuntimeError):  # no path at all: see `existing`
        return None


def existing(text: str) -> Path | None:
    """`text` as a path if something lies there; no text, however odd, is an error."""
    try:
        path = Path(text).expanduser()
        return path if text and path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL byte, ~ of an unknown user
        return None
