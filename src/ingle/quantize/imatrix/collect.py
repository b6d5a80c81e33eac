"""Owns collecting an importance matrix: a model run over calibration text, watched.

The job writes what it has beside its result now and then; started again with the same text it goes
on, to the same bytes. It does not know how matrices are used.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ingle.backends.cpu.watching import InputSquares, WatchingBackend
from ingle.errors import IngleError
from ingle.evaluate.subject import Subject
from ingle.quantize.imatrix.calibration import Calibration
from ingle.quantize.imatrix.table import Entry, Imatrix

SAVE_PAUSE_S = 60.0
COLD_ROWS = 16  # an expert that saw fewer rows is cold

Tell = Callable[[int], None]


class Collection:
    """A watched model. subject: opened with a `WatchingBackend`."""

    def __init__(self, subject: Subject, context_tokens: int) -> None:
        if not isinstance(subject.backend, WatchingBackend):
            raise IngleError("imatrix", "the model must be opened with a watching backend")
        self._subject = subject
        self._backend = subject.backend
        self._backend.prepare(subject.model)
        self._context_tokens = context_tokens
        self.num_chunks = 0

    def run(
        self, text: Calibration, *, part: Path | None = None, tell: Tell | None = None
    ) -> Imatrix:
        """All windows of `text`. part: where to keep what is done, and whence to go on.

        tell(windows done) after each. Raises IngleError when sums are not finite.
        """
        job = {"text": text.digest, "model": str(self._subject.path.resolve())}
        self.num_chunks = 0 if part is None else self._resume(part, job)
        saved = time.monotonic()
        for window in text.windows[self.num_chunks :]:
            self._window(window)
            self.num_chunks += 1
            if tell is not None:
                tell(self.num_chunks)
            if part is not None and time.monotonic() - saved > SAVE_PAUSE_S:
                self._save(part, job)
                saved = time.monotonic()
        return self.imatrix(text.names)

    def top_up(self, text: Calibration, found: Imatrix, tell: Tell | None = None) -> Imatrix:
        """`found`, with cold experts' numbers from another pass in which each row goes to twice as
        many experts; what other experts saw there is not counted."""
        cold = cold_experts(found)
        num = getattr(getattr(self._subject.model, "config", None), "num_experts_per_tok", 0)
        most = getattr(getattr(self._subject.model, "config", None), "num_local_experts", 0)
        if not cold or num >= most:
            return found
        for squares in self._backend.squares.values():
            squares.sums[:] = 0
            squares.counts[:] = 0
        for done, window in enumerate(text.windows, 1):
            self._window(window, min(2 * num, most))
            if tell is not None:
                tell(done)
        more = self.imatrix(text.names)
        entries = dict(found.entries)
        for name, experts in cold.items():
            sums, counts = entries[name].sums.copy(), entries[name].counts.copy()
            sums[experts] += more.entries[name].sums[experts]
            counts[experts] += more.entries[name].counts[experts]
            entries[name] = Entry(sums, counts)
        said = f"cold experts topped up with {min(2 * num, most)} experts per token"
        return Imatrix(entries, found.datasets, found.num_chunks, found.chunk_tokens, (said,))

    def imatrix(self, datasets: tuple[str, ...]) -> Imatrix:
        """What was seen so far. IngleError when it is not finite."""
        entries = {}
        for name, squares in self._backend.squares.items():
            if not np.isfinite(squares.sums).all():
                rule = f"what enters {name} must be finite, but is not"
                raise IngleError("imatrix", rule, "the model's file may be damaged")
            counts = squares.counts.astype(np.float64)
            entries[name] = Entry(squares.sums.copy(), counts)
        return Imatrix(entries, datasets, self.num_chunks, self._context_tokens)

    def _window(self, ids: tuple[int, ...], num_experts_per_tok: int | None = None) -> None:
        self._subject.run(ids, self._backend.outputs, num_experts_per_tok)

    def _save(self, part: Path, job: dict[str, str]) -> None:
        held = io.BytesIO()
        arrays: dict[str, Any] = {"job": json.dumps({**job, "done": self.num_chunks})}
        for index, squares in enumerate(_distinct(self._backend.squares)):
            arrays[f"sums{index}"], arrays[f"counts{index}"] = squares.sums, squares.counts
        np.savez(held, **arrays)
        aside = part.with_name(part.name + ".new")
        aside.write_bytes(held.getvalue())
        aside.replace(part)

    def _resume(self, part: Path, job: dict[str, str]) -> int:
        """Windows that an interrupted attempt finished; 0 where there is none of this job."""
        try:
            with np.load(io.BytesIO(part.read_bytes()), allow_pickle=False) as arrays:
                stated = json.loads(str(arrays["job"]))
                done = int(stated.pop("done"))
                if stated != job or done < 0:
                    return 0
                distinct = _distinct(self._backend.squares)
                pairs = [(arrays[f"sums{i}"], arrays[f"counts{i}"]) for i in range(len(distinct))]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return 0
        shapes = [(squares.sums.shape, squares.counts.shape) for squares in distinct]
        if [(sums.shape, counts.shape) for sums, counts in pairs] != shapes:
            return 0
        for squares, (sums, counts) in zip(distinct, pairs, strict=True):
            squares.sums[:], squares.counts[:] = sums, counts
        return done


def cold_experts(imatrix: Imatrix, rows: int = COLD_ROWS) -> dict[str, list[int]]:
    """Experts that saw fewer than `rows` rows, by weight."""
    cold = {}
    for name, entry in imatrix.entries.items():
        few = np.flatnonzero(entry.counts < rows)
        if len(entry.counts) > 1 and len(few):
            cold[name] = few.tolist()
    return cold


def _distinct(squares: dict[str, InputSquares]) -> list[InputSquares]:
    """Each pair of arrays once; several weights may share one."""
    return list({id(one.sums): one for one in squares.values()}.values())
