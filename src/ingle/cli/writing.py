"""Owns the progress of a job that writes a model file: one stage, counted in bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ingle.hub.progress import shown


@contextmanager
def written(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function of (bytes done, bytes in all) that shows both on stderr."""
    with shown(title) as progress:
        started = False

        def tell(done_bytes: int, total_bytes: int) -> None:
            nonlocal started
            if not started:
                progress.stage("writing", total_bytes)
                started = True
            progress.at(done_bytes)

        yield tell
