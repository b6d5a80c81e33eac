"""``ingle pack SRC [DST]``."""

from __future__ import annotations

from pathlib import Path

from ingle.cli.writing import written
from ingle.formats.packed import pack as pack_model
from ingle.hub import packing


def pack(
    source: str,
    target: str | None = None,
    head: str = "",
    attention: str = "",
    head_scan: str = "",
) -> int:
    """Write a GGUF as a packed file and print its path; 0.

    target: a file; left out, the copy in the models folder that `ingle run` takes. What was
    interrupted continues when the same command is given again. head, attention, head_scan:
    other formats for them. Raises IngleError.
    """
    if target is None:
        print(packing.make(Path(source), head, attention, head_scan))
        return 0
    with written("pack") as tell:
        path = pack_model(
            source, Path(target), tell, head=head, attention=attention, head_scan=head_scan
        )
    print(path)
    return 0
