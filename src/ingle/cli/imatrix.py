"""``ingle imatrix``: owns how collecting, showing and mixing importance matrices is asked for."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingle import hub
from ingle.backends.cpu.watching import WatchingBackend
from ingle.cli.counting import Counting
from ingle.errors import IngleError
from ingle.evaluate.subject import Subject
from ingle.quantize.imatrix import Imatrix, read_imatrix, write_imatrix
from ingle.quantize.imatrix.calibration import calibration
from ingle.quantize.imatrix.collect import Collection
from ingle.quantize.imatrix.coverage import complaints, coverage, expert_counts, listed
from ingle.quantize.imatrix.merge import Source, merge
from ingle.quantize.picture import heat_map

PRESETS = {
    "neo": ("general",),
    "di": ("general", "code"),
    "tri": ("general", "code", "horror"),
}
_MOST_COMPLAINTS = 12


@dataclass(frozen=True)
class Wishes:
    """What may be said about collecting; see `ingle imatrix --help`."""

    files: Sequence[str]
    out: str | None
    context_tokens: int
    chunks: int | None
    preset: str | None
    process_output: bool
    top_up: bool
    exact: bool
    threads: int | None


def imatrix(words: Sequence[str], wishes: Wishes, png: str | None, as_json: bool) -> None:
    """`MODEL`, `show FILE` or `merge A[:w] B[:w]...`. Raises IngleError."""
    if words[0] == "show" and len(words) == 2:
        show(words[1], png, as_json)
    elif words[0] == "merge":
        mix(words[1:], _out(wishes))
    elif len(words) == 1:
        collect(words[0], wishes)
    else:
        rule = f"it must be MODEL, show FILE or merge A B..., but got {' '.join(words)!a:.60}"
        raise IngleError("imatrix", rule)


def collect(model: str, wishes: Wishes) -> None:
    """Run the model over the texts and write the matrix; the path is printed."""
    out = Path(_out(wishes))
    _require_place(out)
    found = [_one(model, wishes, label, files, out) for label, files in _labelled(wishes).items()]
    result = found[0].imatrix
    if len(found) > 1:
        result = merge([Source(one.name, one.imatrix, 1 / len(found)) for one in found])
    write_imatrix(out, result)
    for label in _labelled(wishes):
        _part(out, label).unlink(missing_ok=True)
    _warn(result)
    print(out)


def mix(words: Sequence[str], out: str) -> None:
    """Mix matrices named as FILE or FILE:WEIGHT; the path is printed."""
    sources = []
    for word in words:
        name, weight = _weighed(word)
        sources.append(Source(Path(name).name, read_imatrix(name), weight))
    _require_place(Path(out))
    write_imatrix(out, merge(sources))
    print(out)


def show(file: str, png: str | None, as_json: bool) -> None:
    """Say what a matrix saw, and draw the rows of experts."""
    found = read_imatrix(file)
    if png is not None:
        counts = expert_counts(found)
        if not counts.size:
            raise IngleError("--png", "the matrix must be of a model with experts, but is not")
        heat_map(counts, f"rows per expert, {Path(file).name}", "layers", "experts", png)
    if as_json:
        print(json.dumps(_object(file, found), allow_nan=False))
        return
    _show(file, found)
    if png is not None:
        print(png)


def _one(model: str, wishes: Wishes, label: str, files: Sequence[str], out: Path) -> Source:
    """One matrix of one kind of text, from an open model of its own."""
    backend = WatchingBackend(wishes.threads, wishes.exact, wishes.process_output)
    subject = Subject(model, hub.resolve(model), backend, wishes.context_tokens)
    text = calibration(subject, files, wishes.context_tokens, wishes.chunks)
    title = f"imatrix {label}".strip()
    collection = Collection(subject, wishes.context_tokens)
    counting = Counting(title, len(text.windows))
    found = collection.run(text, part=_part(out, label), tell=counting.at)
    if wishes.top_up:
        again = Counting(f"{title}, cold experts", len(text.windows))
        found = collection.top_up(text, found, again.at)
    return Source(label or Path(files[0]).name, found)


def _labelled(wishes: Wishes) -> dict[str, list[str]]:
    """Files by the kind of text that a preset wants; all under no label without one."""
    if wishes.preset is None:
        return {"": list(wishes.files)}
    if wishes.preset not in PRESETS:
        rule = f"it must be one of {', '.join(PRESETS)}, but got {wishes.preset!a:.40}"
        raise IngleError("preset", rule)
    found: dict[str, list[str]] = {label: [] for label in PRESETS[wishes.preset]}
    for word in wishes.files:
        label, mark, file = word.partition("=")
        if not mark or label not in found:
            rule = f"files must be named as {' '.join(f'{name}=FILE' for name in found)}"
            raise IngleError("-f", f"{rule}, but got {word!a:.60}")
        found[label].append(file)
    for label, files in found.items():
        if not files:
            raise IngleError("-f", f"the preset {wishes.preset} needs {label}=FILE, but got none")
    return found


def _part(out: Path, label: str) -> Path:
    return out.with_name(f"{out.name}{'.' + label if label else ''}.part")


def _out(wishes: Wishes) -> str:
    if wishes.out is None:
        raise IngleError("-o", "a file to write must be given, but got none", "say -o FILE")
    return wishes.out


def _require_place(out: Path) -> None:
    if not out.absolute().parent.is_dir():
        raise IngleError("-o", f"its folder must exist, but got {str(out)!a:.80}")


def _weighed(word: str) -> tuple[str, float | None]:
    name, mark, weight = word.rpartition(":")
    try:
        return (name, float(weight)) if mark and not Path(word).exists() else (word, None)
    except ValueError:
        return word, None


def _warn(found: Imatrix) -> None:
    lines = list(complaints(found))
    for line in lines[:_MOST_COMPLAINTS]:
        print(f"warning: {line}", file=sys.stderr)
    if len(lines) > _MOST_COMPLAINTS:
        more = len(lines) - _MOST_COMPLAINTS
        print(f"warning: and {more} weights more: ingle imatrix show", file=sys.stderr)


def _show(file: str, found: Imatrix) -> None:
    texts = ", ".join(found.datasets) or "unknown"
    print(f"{'file':<10}{file}")
    print(f"{'text':<10}{texts}: {found.num_chunks} chunks of {found.chunk_tokens} tokens")
    for line in found.lineage:
        print(f"{'lineage':<10}{line}")
    print(f"{'entries':<10}{len(found.entries)}\n")
    print(f"{'weight':<34}{'rows':>9}  {'matrices':>8}  loudest columns (x median)")
    for one in coverage(found):
        loud = ", ".join(f"{column} ({ratio:,.0f}x)" for column, ratio in one.loudest)
        print(f"{one.name:<34}{one.rows:>9,.0f}  {one.num_matrices:>8}  {loud}")
        for word, experts in (("never", one.never), ("hardly", one.hardly)):
            if experts:
                print(f"{'':<10}{word} seen: experts {listed(experts)}")


def _object(file: str, found: Imatrix) -> dict[str, object]:
    entries = [
        {
            "name": one.name,
            "matrices": one.num_matrices,
            "columns": one.columns,
            "rows": one.rows,
            "never_seen": one.never,
            "hardly_seen": one.hardly,
            "loudest": [
                {"column": column, "times_median": ratio if math.isfinite(ratio) else None}
                for column, ratio in one.loudest
            ],
        }
        for one in coverage(found)
    ]
    return {
        "file": file,
        "datasets": found.datasets,
        "chunks": found.num_chunks,
        "chunk_tokens": found.chunk_tokens,
        "lineage": found.lineage,
        "entries": entries,
    }
