"""Owns evaluation: a model over a text, window by window, alone or against a reference.

Perplexity is llama.cpp's: the exponential of the mean surprise over the second halves of windows,
with the standard error of that mean. It does not know how results are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from ingle.errors import IngleError
from ingle.evaluate.divergence import Distributions, Reals, Softmax
from ingle.evaluate.saved_logits import LogitsWriter, SavedLogits
from ingle.evaluate.subject import Subject, pieces
from ingle.evaluate.window import Windows


@dataclass(frozen=True)
class Summary:
    """Figures of an evaluation. Divergences in nats; None where there was no reference."""

    perplexity: float
    perplexity_error: float
    num_scored: int
    num_windows: int
    reference_perplexity: float | None = None
    mean_kld: float | None = None
    mean_kld_error: float | None = None
    median_kld: float | None = None
    kld_99: float | None = None
    max_kld: float | None = None
    top1_agreement: float | None = None
    top1_error: float | None = None


@dataclass
class Evaluation:
    """Rows scored so far, in pieces."""

    surprises: list[Reals] = field(default_factory=list)
    reference_surprises: list[Reals] = field(default_factory=list)
    divergences: list[Reals] = field(default_factory=list)
    agreements: list[Reals] = field(default_factory=list)
    num_windows: int = 0

    def add(
        self, logits: Softmax, next_ids: Sequence[int], reference: Distributions | None
    ) -> None:
        """Rows of logits with the ids that came next, and what a reference says of them."""
        ids = np.asarray(next_ids, np.int64)
        self.surprises.append(-logits.log_probabilities(ids))
        if reference is None:
            return
        self.reference_surprises.append(-reference.log_probabilities(ids))
        self.divergences.append(reference.divergence_to(logits))
        same = reference.top_ids() == logits.top_ids()
        self.agreements.append(same.astype(np.float64))

    @property
    def perplexity(self) -> float:
        """Of the rows so far."""
        return _exp(float(np.concatenate(self.surprises).mean()))

    def summary(self) -> Summary:
        """Figures of all rows so far."""
        surprises = np.concatenate(self.surprises)
        perplexity = self.perplexity
        own = Summary(
            perplexity, perplexity * _standard_error(surprises), len(surprises), self.num_windows
        )
        if not self.divergences:
            return own
        kld, same = np.concatenate(self.divergences), np.concatenate(self.agreements)
        return Summary(
            own.perplexity,
            own.perplexity_error,
            own.num_scored,
            own.num_windows,
            _exp(float(np.concatenate(self.reference_surprises).mean())),
            float(kld.mean()),
            _standard_error(kld),
            float(np.median(kld)),
            float(np.quantile(kld, 0.99)),
            float(kld.max()),
            float(same.mean()),
            _standard_error(same),
        )


def evaluate(
    subject: Subject,
    windows: Windows,
    *,
    against: Subject | SavedLogits | None = None,
    save: LogitsWriter | None = None,
    tell: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Score every window. tell: called after each. save: takes the subject's own rows.

    Raises IngleError when the reference has another vocabulary.
    """
    if against is not None and against.vocab_size != subject.vocab_size:
        rule = f"the reference must have the model's {subject.vocab_size} tokens"
        raise IngleError("against", f"{rule}, but got {against.vocab_size}")
    done = Evaluation()
    for index, ids in enumerate(windows.ids):
        scored = windows.scored
        said = _reference(against, index, ids, scored)
        for (positions, logits), reference in zip(subject.scan(ids, scored), said, strict=False):
            softmax = Softmax(logits)
            next_ids = ids[positions.start + 1 : positions.stop + 1]
            done.add(softmax, next_ids, reference)
            if save is not None:
                save.add(softmax, np.asarray(next_ids, np.int64))
        done.num_windows += 1
        if tell is not None:
            tell(done)
    return done


def evaluate_conversations(
    subject: Subject,
    talks: Sequence[tuple[Sequence[int], Sequence[str]]],
    *,
    against: Subject | None = None,
    tell: Callable[[int], None] | None = None,
) -> dict[str, Evaluation]:
    """Evaluations by channel, of conversations given as ids and the channel of each id.

    Every id but a conversation's first is predicted, each conversation from an empty context.
    """
    found: dict[str, Evaluation] = {}
    for done, (ids, labels) in enumerate(talks, 1):
        rows = range(len(ids) - 1)
        said = _reference(against, 0, ids, rows)
        for (positions, logits), reference in zip(subject.scan(ids, rows), said, strict=False):
            theirs = reference.logits if isinstance(reference, Softmax) else None
            following = [labels[position + 1] for position in positions]
            for label in dict.fromkeys(following):
                chosen = [row for row, name in enumerate(following) if name == label]
                next_ids = [ids[positions.start + row + 1] for row in chosen]
                part = None if theirs is None else Softmax(theirs[chosen])
                found.setdefault(label, Evaluation()).add(Softmax(logits[chosen]), next_ids, part)
        if tell is not None:
            tell(done)
    for one in found.values():
        one.num_windows = len(talks)
    return found


def _reference(
    against: Subject | SavedLogits | None, index: int, ids: Sequence[int], scored: range
) -> Iterator[Distributions | None]:
    """What the reference says of each piece of a window."""
    if against is None:
        yield from repeat(None)
    elif isinstance(against, Subject):
        for _, logits in against.scan(ids, scored):
            yield Softmax(logits)
    else:
        for positions in pieces(scored):
            yield against.rows(index, positions)


def _standard_error(values: Reals) -> float:
    """Of the mean; as llama.cpp: the spread about the mean, over n - 1."""
    if len(values) < 2:
        return 0.0
    return float(math.sqrt(max(values.var(), 0.0) / (len(values) - 1)))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
