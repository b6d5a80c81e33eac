"""``ingle pack SRC [DST]``."""

from __future__ import annotations

from pathlib import Path

from ingle.cli.writing import written
from ingle.formats.packed import pack as pack_model

SUFFIX = ".packed.safetensors"


def pack(source: str, target: str | None = None) -> int:
    """Write a GGUF as a packed file and print its path; 0.

    What was interrupted continues when the same command is given again. Raises IngleError.
    """
    out = Path(target) if target else Path(source).with_suffix(SUFFIX)
    with written("pack") as tell:
        path = pack_model(source, out, tell)
    print(path)
    return 0
