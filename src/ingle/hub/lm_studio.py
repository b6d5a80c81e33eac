"""Owns the layout of LM Studio's folder, ``<user>/<repo>/<file>``, read where it lies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ingle import config, env
from ingle.errors import IngleError
from ingle.hub.cache import files_below
from ingle.hub.choice import Choice, choose
from ingle.hub.reference import Reference

_EARLIER = "~/.cache/lm-studio/models"  # where versions before 0.3 kept them


def find(reference: Reference) -> tuple[Path, Choice, int] | None:
    """What `reference` means among LM Studio's GGUF files: path, choice, bytes; None if absent."""
    for root in _roots():
        sizes = files_below(root / reference.repo)
        with contextlib.suppress(IngleError):
            choice = choose(sizes, reference.wish, str(reference))
            if choice.entry:
                total = sum(sizes[file] for file in choice.files)
                return root / reference.repo / choice.entry, choice, total
    return None


def repositories() -> Iterator[str]:
    """Every ``user/repo`` that has a folder."""
    for root in _roots():
        with contextlib.suppress(OSError):
            for folder in sorted(root.glob("*/*")):
                if folder.is_dir():
                    yield folder.relative_to(root).as_posix()


def _roots() -> list[Path]:
    return [config.get("lm_studio_models"), env.folder(_EARLIER, "HOME")]
