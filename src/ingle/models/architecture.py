"""Owns which file implements which architecture, by the name the checkpoint itself states."""

from __future__ import annotations

from collections.abc import Callable

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats import Container
from ingle.models.checkpoint import Checkpoint
from ingle.models.llama import Llama
from ingle.ops import Backend, Model

ARCHITECTURES: dict[str, Callable[[Checkpoint, int], Model]] = {"llama": Llama}


def load_model(container: Container, backend: Backend, context_tokens: int) -> Model:
    """A model with its weights in `backend`, for sequences of up to `context_tokens` tokens.

    UnsupportedError when the architecture is not built, FileFormatError when the file is damaged.
    """
    name = container.metadata.get("general.architecture")
    if not isinstance(name, str):
        raise FileFormatError(container.path.name, f"architecture must be stated, but got {name!r}")
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedError(
            container.path.name, f"architecture must be one of {known}, but got {name}"
        )
    return ARCHITECTURES[name](Checkpoint(container, backend), context_tokens)
