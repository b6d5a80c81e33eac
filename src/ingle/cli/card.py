"""``ingle report``: owns the card a publisher puts up, as Markdown and as a picture."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ingle.cli.counting import Counting
from ingle.errors import IngleError
from ingle.evaluate.card import Row, make_card
from ingle.evaluate.window import read_text
from ingle.hub.progress import as_size
from ingle.quantize.picture import FAINT, INK, LINE, SERIES, Picture

BITS_OF_BF16 = 16.0


def report(
    models: Sequence[str],
    text: str | None,
    against: str | None,
    chunks: int,
    out: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Print the card of `models`, or write OUT.md and OUT.png. Raises IngleError."""
    if text is None:
        raise IngleError("text", "a text must be given, but got none", "say --text FILE")
    told = _Telling()
    with tempfile.TemporaryDirectory(prefix="ingle-report-") as work:
        rows = make_card(
            models,
            read_text(text),
            Path(work),
            reference=against,
            chunks=chunks,
            threads=threads,
            tell=told.at,
        )
    reference = against or models[0]
    if as_json:
        print(json.dumps([_object(row) for row in rows]))
        return
    page = markdown(rows, reference, Path(text).name, chunks)
    if out is None:
        print(page, end="")
        return
    stem = Path(out).with_suffix("") if Path(out).suffix in (".md", ".png") else Path(out)
    picture = stem.with_name(stem.name + ".png")
    draw(rows, reference, picture)
    page += f"\n![the same as a picture]({picture.name})\n"
    stem.with_name(stem.name + ".md").write_text(page, encoding="utf-8")
    print(stem.with_name(stem.name + ".md"))
    print(picture)


def markdown(rows: Sequence[Row], reference: str, text: str, chunks: int) -> str:
    """The card: a table, and how it was measured."""
    base = next(row for row in rows if row.name == reference)
    head = (
        "| model | size | true bits/weight | saved | perplexity | mean KLD | same top-1 "
        "| prompt tok/s | answer tok/s | speed |"
    )
    lines = [f"# {_cell(base.title)}", "", head, "|---" + "|---:" * 9 + "|"]
    for row in rows:
        gained = row.speed.decode_tokens_per_s / base.speed.decode_tokens_per_s
        cells = [
            _cell(row.title),
            as_size(row.weights_bytes),
            f"{row.bits_per_weight:.2f}",
            f"{1 - row.weights_bytes / base.weights_bytes:.1%}",
            f"{row.quality.perplexity:.2f} ± {row.quality.perplexity_error:.2f}",
            f"{row.quality.mean_kld:.4f}",
            f"{row.quality.top1_agreement:.1%}",
            f"{row.speed.prompt_tokens_per_s:.0f}",
            f"{row.speed.decode_tokens_per_s:.1f}",
            f"{gained:.2f}x",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "What the files are made of:", ""]
    for row in rows:
        made = ", ".join(
            f"{share.format} {share.nbytes / row.weights_bytes:.0%}" for share in row.shares[:5]
        )
        lines.append(f"- {_cell(row.title)}: {made}")
    scored = base.quality.num_scored
    lines += [
        "",
        f"Measured with `ingle report --text {_cell(text)} --chunks {chunks}`: {scored:,} "
        f"predictions in windows of 512 tokens; the reference for KLD and top-1 is "
        f"{_cell(base.title)} in exact arithmetic, so its own row shows what 8-bit activations "
        "cost. Bits per weight count every byte of the weights, scales included. Speeds are of "
        "the machine that measured.",
    ]
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row], reference: str, path: Path) -> None:
    """Bars per model: size, divergence, agreement, speed."""
    base = next(row for row in rows if row.name == reference)
    columns: tuple[tuple[str, list[float], Callable[[float], str]], ...] = (
        ("size", [float(row.weights_bytes) for row in rows], lambda value: as_size(round(value))),
        ("true bits per weight", [row.bits_per_weight for row in rows], "{:.2f}".format),
        (
            "mean KLD (less is better)",
            [row.quality.mean_kld or 0.0 for row in rows],
            "{:.4f}".format,
        ),
        ("same top-1", [row.quality.top1_agreement or 0.0 for row in rows], "{:.1%}".format),
        ("answer tokens/s", [row.speed.decode_tokens_per_s for row in rows], "{:.1f}".format),
    )
    left, wide, step = 240, 150, 34
    sheet = Picture(left + len(columns) * (wide + 30) + 10, 110 + step * len(rows) + 30)
    sheet.words(24, 28, _fitted(base.title, 60), 18)
    for place, (label, values, form) in enumerate(columns):
        x = left + place * (wide + 30)
        sheet.words(x, 70, label, 12, FAINT)
        sheet.line([(x, 84), (x, 84 + step * len(rows))], LINE)
        most = max(values) or 1.0
        for index, value in enumerate(values):
            y = 90 + step * index
            colour = SERIES[6] if rows[index].name == reference else SERIES[0]
            sheet.box(x, y, max(1.0, (wide - 62) * value / most), 20, colour)
            sheet.words(x + max(1.0, (wide - 62) * value / most) + 5, y + 10, form(value), 11)
    for index, row in enumerate(rows):
        sheet.words(left - 14, 100 + step * index, _fitted(row.title), 12, INK, "rm")
    note = f"{base.quality.num_scored:,} predictions; reference {_fitted(base.title)}, grey"
    sheet.words(24, 100 + step * len(rows) + 14, note, 11, FAINT)
    sheet.save(path)


class _Telling:
    """A line of progress for each model in turn."""

    def __init__(self) -> None:
        self._name = ""
        self._counting: Counting | None = None

    def at(self, name: str, done: int, total: int) -> None:
        """`done` windows of `total` are over."""
        if name != self._name or self._counting is None:
            self._name, self._counting = name, Counting(f"report {Path(name).name}", total)
            print(f"report: {name}", file=sys.stderr, flush=True)
        self._counting.at(done)


def _object(row: Row) -> dict[str, object]:
    told = dataclasses.asdict(row)
    told["quality"] = {
        name: value if value is None or math.isfinite(value) else None
        for name, value in dataclasses.asdict(row.quality).items()
    }
    return told


def _cell(text: str) -> str:
    """Text that cannot break a table of Markdown."""
    clean = text if text.isprintable() else ascii(text)[1:-1]
    return clean.replace("\\", "\\\\").replace("|", "\\|")


def _fitted(text: str, limit: int = 32) -> str:
    clean = text if text.isprintable() else ascii(text)[1:-1]
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
