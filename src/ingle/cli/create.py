"""``ingle create NAME -f MODELFILE``."""

from __future__ import annotations

from pathlib import Path

from ingle import hub


def create(name: str, file: Path) -> None:
    """Make a model of a base and settings, and say what stands under it."""
    path = hub.create(name, file)
    print(f"created {name} over {path}")
