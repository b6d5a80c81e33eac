"""Owns the figures of a publisher's card: models side by side, each against one reference.

It does not know how a card is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingle import hub
from ingle.evaluate.saved_logits import SavedLogits, TopLogitsWriter, open_logits
from ingle.evaluate.score import Evaluation, Summary, evaluate
from ingle.evaluate.speed import Speed, measure
from ingle.evaluate.subject import CHUNK_TOKENS, Subject
from ingle.evaluate.window import Windows, cut
from ingle.formats.detect import open_container
from ingle.formats.summary import FormatShare, summarize

_ROOM = 64  # tokens of context beyond a window, for measuring speed
_KEPT = 128

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Row:
    """One model. shares: its number formats by bytes, largest first."""

    name: str
    title: str
    weights_bytes: int
    num_parameters: int
    bits_per_weight: float
    shares: tuple[FormatShare, ...]
    quality: Summary
    speed: Speed


def make_card(
    names: Sequence[str],
    text: str,
    work: Path,
    *,
    reference: str | None,
    context_tokens: int = CHUNK_TOKENS,
    chunks: int | None = None,
    threads: int | None = None,
    tell: Tell | None = None,
) -> list[Row]:
    """Rows in the order of `names`; a reference that is not among them comes first.

    The reference (default: the first) runs in exact arithmetic, the models as they run by default.
    work: a folder for its logits, removed by the caller. One model is in memory at a time.
    """
    reference = reference or names[0]
    names = names if reference in names else [reference, *names]
    saved, windows = _reference(reference, text, work, context_tokens, chunks, threads, tell)
    return [_row(name, windows, saved, threads, tell) for name in names]


def _reference(
    name: str,
    text: str,
    work: Path,
    context_tokens: int,
    chunks: int | None,
    threads: int | None,
    tell: Tell | None,
) -> tuple[SavedLogits, Windows]:
    subject = Subject.open(name, context_tokens, threads=threads, exact=True)
    windows = cut(subject.ids(text), context_tokens, chunks, subject.beginning)
    path = work / "reference.safetensors"
    with TopLogitsWriter(path, windows, subject.vocab_size, _KEPT) as save:
        evaluate(subject, windows, save=save, tell=_telling(f"{name}, exact", windows, tell))
    return open_logits(path), windows


def _row(
    name: str, windows: Windows, saved: SavedLogits, threads: int | None, tell: Tell | None
) -> Row:
    subject = Subject.open(name, windows.context_tokens + _ROOM, threads=threads)
    done = evaluate(subject, windows, against=saved, tell=_telling(name, windows, tell))
    path = hub.resolve(name)
    facts = summarize(open_container(path))
    shares = sorted(facts.shares, key=lambda share: -share.nbytes)
    return Row(
        name,
        path.stem if path.is_file() else path.name,
        facts.weights_bytes,
        facts.num_parameters,
        facts.bits_per_weight,
        tuple(shares),
        done.summary(),
        measure(subject),
    )


def _telling(name: str, windows: Windows, tell: Tell | None) -> Callable[[Evaluation], None] | None:
    if tell is None:
        return None
    return lambda done: tell(name, done.num_windows, len(windows.ids))
