"""Owns the measure that tables of quality share: a model's divergence from reference logits.

Reference logits are kept in llama.cpp's own form, so llama-perplexity can read them as well. It
does not know how the measured files were made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingle.evaluate.saved_logits import LlamaCppLogitsWriter, open_logits
from ingle.evaluate.score import Summary, evaluate
from ingle.evaluate.subject import Subject
from ingle.evaluate.window import cut, read_text

CONTEXT_TOKENS = 512


@dataclass(frozen=True)
class Yardstick:
    """Logits of a reference model over the first windows of a text.

    kept: the file of logits, made when it is not there. exact: they are in exact arithmetic.
    """

    reference: Path
    text: Path
    windows: int
    kept: Path
    exact: bool = True

    def measure(self, model: Path, *, exact: bool = False) -> Summary:
        """Divergence from the reference; exact: the model's activations stay float32."""
        self.prepare()
        saved = open_logits(self.kept)
        subject = Subject.open(str(model), CONTEXT_TOKENS, exact=exact)
        return evaluate(subject, saved.windows, against=saved).summary()

    def prepare(self) -> None:
        """Make the file of logits when it is not there."""
        if self.kept.exists():
            return
        subject = Subject.open(str(self.reference), CONTEXT_TOKENS, exact=self.exact)
        ids = subject.ids(read_text(str(self.text)))
        windows = cut(ids, CONTEXT_TOKENS, self.windows, subject.beginning)
        with LlamaCppLogitsWriter(self.kept, windows, subject.vocab_size) as save:
            evaluate(subject, windows, save=save)


@dataclass(frozen=True)
class Ledger:
    """Rows already measured, one JSON object a line, so that a long table can be continued."""

    path: Path

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, oldest first."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def find(self, **key: Any) -> dict[str, Any] | None:
        """The row that has all these values."""
        for row in self.rows():
            if all(row.get(name) == value for name, value in key.items()):
                return row
        return None

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def figures(summary: Summary) -> dict[str, Any]:
    """What a row of a table says of a measured model."""
    return {
        "perplexity": round(summary.perplexity, 4),
        "mean_kld": round(summary.mean_kld or 0.0, 6),
        "kld_error": round(summary.mean_kld_error or 0.0, 6),
        "top1": round(summary.top1_agreement or 0.0, 5),
        "top1_error": round(summary.top1_error or 0.0, 5),
    }
