"""``ingle inspect``: owns how the summary of a model is laid out on a terminal or in a pipe.

Names out of the file are escaped before they are shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from ingle.cli.wording import count, printable
from ingle.formats import StringArray, open_container
from ingle.formats.summary import Summary, summarize
from ingle.formats.summary_object import SHOWN_ITEMS, summary_object
from ingle.hub.progress import as_size

SHOWN_CHARACTERS = 72
_LABELS = {
    "num_hidden_layers": "layers",
    "hidden_size": "hidden",
    "intermediate_size": "feed-forward",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv heads",
    "head_dim": "head dim",
    "num_local_experts": "experts",
    "num_experts_per_tok": "per token",
    "sliding_window": "window",
    "max_position_embeddings": "context",
}


def inspect(path: str, as_json: bool, tensors: bool) -> int:
    """Print what a model file or folder holds and whether it runs; 0. Raises IngleError."""
    summary = summarize(open_container(path))
    if as_json:
        print(json.dumps(summary_object(summary, tensors), allow_nan=False))
        return 0
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for line in _page(summary, tensors):
        console.print(line)
    return 0


def _page(summary: Summary, tensors: bool) -> Iterable[Text]:
    yield Text(printable(summary.facts.name or summary.path.name, 100), style="bold")
    yield from _pairs(_facts(summary))
    yield from _verdict(summary)
    yield Text()
    yield from _columns(_formats(summary), right={1, 2, 3, 4})
    if summary.metadata:
        yield Text("\nmetadata", style="bold")
        yield from _pairs({printable(k, 60): _shown(v) for k, v in summary.metadata.items()})
    if tensors:
        yield Text("\ntensors", style="bold")
        yield from _columns(_tensors(summary), right={3, 4})


def _facts(summary: Summary) -> dict[str, str]:
    facts, sizes = summary.facts, summary.facts.sizes
    kind, bits = summary.container, f"{summary.bits_per_weight:.3f} bits per weight"
    rows = {
        "file": str(summary.path),
        "container": f"{kind if kind.startswith('GGUF') else f'{facts.layout} {kind}'}, "
        + _files(summary),
        "architecture": facts.architecture or "not stated",
        "parameters": _parameters(summary),
        "weights": f"{as_size(summary.weights_bytes)}, {bits}",
        "shape": ", ".join(f"{label} {sizes[k]:,}" for k, label in _LABELS.items() if k in sizes),
        "vocabulary": _vocabulary(summary),
        "special": _special(summary),
    }
    return {label: printable(text, 400) for label, text in rows.items() if text}


def _files(summary: Summary) -> str:
    number = len(summary.files)
    return f"{number} file{'s' * (number != 1)}, {as_size(summary.file_bytes)}"


def _parameters(summary: Summary) -> str:
    total, active = summary.num_parameters, summary.num_active_parameters
    exact = f"{count(total)} ({total:,})"
    return exact if active == total else f"{exact}, {count(active)} active per token"


def _vocabulary(summary: Summary) -> str:
    vocabulary = summary.vocabulary
    if vocabulary is None:
        return ""
    parts = [f"{vocabulary.num_tokens:,} tokens"]
    if vocabulary.num_merges:
        parts.append(f"{vocabulary.num_merges:,} merges")
    if vocabulary.kind:
        parts.append(vocabulary.kind)
    if vocabulary.template_characters:
        parts.append(f"chat template of {vocabulary.template_characters:,} characters")
    return ", ".join(parts)


def _special(summary: Summary) -> str:
    tokens = summary.vocabulary.special.items() if summary.vocabulary else ()
    return ", ".join(
        f"{role} {token_id} {printable(text, 40)}" for role, (token_id, text) in tokens
    )


def _verdict(summary: Summary) -> Iterable[Text]:
    if not summary.problems:
        yield Text("runs here", style="bold green")
    for problem in summary.problems:
        yield Text.assemble(("does not run: ", "bold yellow"), printable(problem, 200))


def _formats(summary: Summary) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("format", "tensors", "weights", "size", "bits per weight")]
    for share in summary.shares:
        bits, weights = f"{share.bits_per_weight:.3f}", count(share.num_weights)
        rows.append((share.format, f"{share.num_tensors:,}", weights, as_size(share.nbytes), bits))
    return rows


def _tensors(summary: Summary) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("name", "shape", "format", "size", "bits per weight")]
    for tensor in summary.tensors:
        shape = " x ".join(map(str, tensor.shape)) or "scalar"
        bits, name = f"{tensor.bits_per_weight:.3f}", printable(tensor.name, 100)
        rows.append((name, shape, tensor.format, as_size(tensor.nbytes), bits))
    return rows


def _pairs(rows: dict[str, str]) -> Iterable[Text]:
    width = max(map(len, rows), default=0)
    for label, text in rows.items():
        yield Text.assemble((label.ljust(width), "dim"), "  ", text)


def _columns(rows: Sequence[Sequence[str]], right: set[int]) -> Iterable[Text]:
    """Aligned columns under a dim heading; `right` are the columns flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for index, row in enumerate(rows):
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield Text("  ".join(cells).rstrip(), style="" if index else "dim")


def _shown(value: Any) -> str:
    if isinstance(value, StringArray):
        few = range(min(len(value), SHOWN_ITEMS))
        first = ", ".join(repr(value.raw(i).decode("utf-8", "replace")) for i in few)
        return f"{len(value):,} strings: {printable(first, SHOWN_CHARACTERS)}"
    if isinstance(value, np.ndarray):
        first = ", ".join(map(str, value[:SHOWN_ITEMS].tolist()))
        return f"{value.size:,} x {value.dtype}: {first}"
    if isinstance(value, tuple):
        return f"{len(value):,} arrays"
    if isinstance(value, float):
        return f"{value:.7g}"
    return printable(str(value), SHOWN_CHARACTERS)
