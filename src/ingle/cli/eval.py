"""``ingle eval``: owns how an evaluation is asked for and told."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

from ingle.cli.counting import Counting
from ingle.errors import IngleError
from ingle.evaluate.saved_logits import (
    LlamaCppLogitsWriter,
    LogitsWriter,
    SavedLogits,
    TopLogitsWriter,
    is_saved_logits,
    open_logits,
)
from ingle.evaluate.score import Evaluation, Summary, evaluate, evaluate_conversations
from ingle.evaluate.subject import Subject
from ingle.evaluate.transcript import channels, conversations, is_transcript
from ingle.evaluate.window import Windows, cut, read_text
from ingle.ops import kv_dtype


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What may be said about an evaluation; see `ingle eval --help`."""

    text: str | None
    context_tokens: int
    chunks: int | None
    against: str | None
    save_logits: str | None
    top: int
    exact: bool
    exact_reference: bool
    threads: int | None
    backend: str
    kv_type: str | None = None


def evaluate_model(model: str, wishes: Wishes, as_json: bool) -> None:
    """Print how well `model` predicts a text. Raises IngleError."""
    if wishes.kv_type is not None:
        kv_dtype(wishes.kv_type, "--kv-type")
    if wishes.text is not None and is_transcript(wishes.text):
        _evaluate_transcript(model, wishes.text, wishes, as_json)
        return
    saved = _saved(wishes.against)
    context = wishes.context_tokens if saved is None else saved.windows.context_tokens
    subject = _open(model, context, wishes, wishes.exact, wishes.kv_type)
    windows = _windows(subject, wishes, saved)
    against: Subject | SavedLogits | None = saved
    if saved is None and wishes.against is not None:
        against = _open(wishes.against, context, wishes, wishes.exact_reference)
    counting, started = Counting("eval", len(windows.ids)), time.monotonic()

    def tell(done: Evaluation) -> None:
        counting.at(done.num_windows, f"perplexity {done.perplexity:.4f}")

    with _writer(wishes, windows, subject.vocab_size) as save:
        done = evaluate(subject, windows, against=against, save=save, tell=tell)
    seconds = time.monotonic() - started
    if as_json:
        print(json.dumps(_object(subject, wishes, windows, done.summary(), seconds)))
    else:
        _show(model, wishes, windows, done.summary())


def _evaluate_transcript(model: str, text: str, wishes: Wishes, as_json: bool) -> None:
    """By channel. Conversations longer than the context lose their ends."""
    if wishes.save_logits is not None or (wishes.against and is_saved_logits(Path(wishes.against))):
        rule = "conversations are compared with models, but got a file of logits"
        raise IngleError("--against", rule, "name a model, or evaluate plain text")
    subject = _open(model, wishes.context_tokens, wishes, wishes.exact, wishes.kv_type)
    against = None
    if wishes.against is not None:
        against = _open(wishes.against, wishes.context_tokens, wishes, wishes.exact_reference)
    cut_off = (ids[: wishes.context_tokens] for ids in conversations(subject, text))
    talks = [(ids, channels(subject.tokenizer, ids)) for ids in cut_off if len(ids) > 1][
        : wishes.chunks
    ]
    if not talks:
        raise IngleError("text", "there must be a conversation, but got none")
    counting = Counting("eval", len(talks))
    found = evaluate_conversations(subject, talks, against=against, tell=counting.at)
    summaries = {label: one.summary() for label, one in found.items()}
    if as_json:
        told = {
            label: {key: _number(value) for key, value in dataclasses.asdict(one).items()}
            for label, one in summaries.items()
        }
        print(json.dumps({"model": model, "text": text, "channels": told}))
        return
    print(f"{'channel':<12} {'tokens':>8} {'perplexity':>20} {'mean KLD':>10} {'same top-1':>11}")
    for label, one in summaries.items():
        figures = f"{one.perplexity:.3f} +/- {one.perplexity_error:.3f}"
        kld = "-" if one.mean_kld is None else f"{one.mean_kld:.5f}"
        same = "-" if one.top1_agreement is None else f"{one.top1_agreement:.1%}"
        print(f"{label:<12} {one.num_scored:>8,} {figures:>20} {kld:>10} {same:>11}")


def _open(
    model: str, context: int, wishes: Wishes, exact: bool, kv_type: str | None = None
) -> Subject:
    return Subject.open(
        model,
        context,
        backend=wishes.backend,
        threads=wishes.threads,
        exact=exact,
        kv_type=kv_type,
    )


def _saved(against: str | None) -> SavedLogits | None:
    if against is None or not is_saved_logits(Path(against)):
        return None
    return open_logits(Path(against))


def _windows(subject: Subject, wishes: Wishes, saved: SavedLogits | None) -> Windows:
    """Of the text; a file of logits brings its own, and a text given beside it must be the same."""
    if saved is not None:
        limit = len(saved.windows.ids) if wishes.chunks is None else wishes.chunks
        windows = Windows(saved.windows.ids[: max(limit, 1)], saved.windows.context_tokens)
        if wishes.text is not None:
            given = _cut(subject, wishes, windows.context_tokens, len(windows.ids))
            if given.ids != windows.ids:
                rule = f"it must be what {wishes.against} was made on, but got another"
                raise IngleError("text", rule, "leave --text out: the file brings its own")
        return windows
    if wishes.text is None:
        raise IngleError("text", "a text must be given, but got none", "say --text FILE")
    return _cut(subject, wishes, wishes.context_tokens, wishes.chunks)


def _cut(subject: Subject, wishes: Wishes, context_tokens: int, limit: int | None) -> Windows:
    assert wishes.text is not None
    ids = subject.ids(read_text(wishes.text))
    return cut(ids, context_tokens, limit, subject.beginning)


def _writer(
    wishes: Wishes, windows: Windows, vocab_size: int
) -> LogitsWriter | contextlib.nullcontext[None]:
    if wishes.save_logits is None:
        return contextlib.nullcontext()
    path = Path(wishes.save_logits)
    if wishes.top == 0:
        return LlamaCppLogitsWriter(path, windows, vocab_size)
    return TopLogitsWriter(path, windows, vocab_size, wishes.top)


def _object(
    subject: Subject, wishes: Wishes, windows: Windows, summary: Summary, seconds: float
) -> dict[str, Any]:
    figures = {name: _number(value) for name, value in dataclasses.asdict(summary).items()}
    path = subject.path
    return {
        "model": subject.name,
        "file_bytes": path.stat().st_size if path.is_file() else None,
        "text": wishes.text,
        "context_tokens": windows.context_tokens,
        "exact": wishes.exact,
        "kv_type": subject.kv_type,
        "against": wishes.against,
        **figures,
        "seconds": round(seconds, 3),
    }


def _show(model: str, wishes: Wishes, windows: Windows, summary: Summary) -> None:
    lines = [
        ("model", model + (", exact arithmetic" if wishes.exact else "")),
        ("text", f"{summary.num_windows} windows of {windows.context_tokens} tokens"),
        ("perplexity", f"{summary.perplexity:.4f} +/- {summary.perplexity_error:.4f}"),
    ]
    if summary.mean_kld is not None and summary.top1_agreement is not None:
        exact = ", exact arithmetic" if wishes.exact_reference else ""
        lines += [
            ("against", f"{wishes.against}{exact}, perplexity {summary.reference_perplexity:.4f}"),
            ("mean KLD", f"{summary.mean_kld:.6f} +/- {summary.mean_kld_error:.6f}"),
            ("median KLD", f"{summary.median_kld:.6f}"),
            ("99% KLD", f"{summary.kld_99:.6f}"),
            ("largest KLD", f"{summary.max_kld:.6f}"),
            ("same top-1", f"{summary.top1_agreement:.2%} +/- {summary.top1_error:.2%}"),
        ]
    for label, text in lines:
        print(f"{label:<12}{text}")


def _number(value: float | int | None) -> float | int | None:
    return value if value is None or math.isfinite(value) else None
