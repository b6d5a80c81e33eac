"""``ingle compare``: owns how models stand side by side on a terminal, as JSON and as a page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ingle.hub.progress import as_size
from ingle.plan.comparison import FORMATS_SHOWN, KV_CONTEXTS, Facts
from ingle.plan.comparison import compare as compared
from ingle.plan.drawing import block_svg

_LABEL, _COLUMN, _COLUMNS = 14, 22, 3  # 80 columns of terminal: a label and three models


def compare(names: list[str], html: str | None, as_json: bool) -> None:
    """Print the comparison, or write it as a page. Raises IngleError."""
    models = compared(names)
    if html is not None:
        Path(html).write_text(page(models), encoding="utf-8")
        print(html)
        return
    if as_json:
        print(json.dumps([_object(facts) for facts in models], allow_nan=False))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for start in range(0, len(models), _COLUMNS):
        if start:
            console.print()
        for line in _columns(models[start : start + _COLUMNS]):
            console.print(line)


def page(models: list[Facts]) -> str:
    """One HTML file without outside assets: drawings, then the table."""
    template = resources.files("ingle.plan").joinpath("compare.html").read_text(encoding="utf-8")
    drawings = "".join(
        f"<figure>{block_svg(facts)}<figcaption>{escape(facts.title)}</figcaption></figure>"
        for facts in models
    )
    heads = "".join(f'<th scope="col">{escape(facts.title)}</th>' for facts in models)
    rows = "".join(
        f'<tr><th scope="row">{escape(label)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for label, cells in _rows(models)
    )
    return (
        template.replace("<!--drawings-->", drawings)
        .replace("<!--heads-->", heads)
        .replace("<!--rows-->", rows)
    )


def _object(facts: Facts) -> dict[str, object]:
    return dataclasses.asdict(facts) | {"kv_bytes_per_token": facts.kv_bytes_per_token}


def _columns(models: list[Facts]) -> Iterator[Text]:
    yield Text(f"{'':<{_LABEL}}" + "".join(_cell(facts.title) for facts in models), "bold")
    for label, cells in _rows(models):
        for index, line in enumerate(zip(*(_wrapped(cell) for cell in cells), strict=True)):
            name = label if not index else ""
            if any(line) or not index:
                shown = "".join(_cell(part) for part in line).rstrip()
                yield Text.assemble((f"{name:<{_LABEL}}", "dim"), shown)


def _rows(models: list[Facts]) -> Iterator[tuple[str, list[str]]]:
    """Label, and a cell per model."""

    def row(label: str, cell: Callable[[Facts], str]) -> tuple[str, list[str]]:
        return label, [cell(facts) for facts in models]

    yield row("parameters", lambda f: _count(f.parameters))
    yield row("  active", lambda f: _count(f.active_parameters))
    yield row("layers", lambda f: f"{f.num_hidden_layers}")
    yield row("width", lambda f: f"{f.hidden_size:,}")
    yield row("heads", lambda f: f"{f.num_attention_heads} x {f.head_dim}")
    yield row("  of keys", lambda f: f"{f.num_key_value_heads}")
    yield row("experts", _experts)
    yield row("inner width", lambda f: f"{f.intermediate_size:,}")
    yield row("positions", lambda f: f.parts.positions)
    yield row("norms", lambda f: f.parts.norms)
    yield row("activation", lambda f: f.parts.activation)
    yield row("attention", lambda f: f.parts.attention)
    yield row("biases", lambda f: f.parts.biases)
    yield row("context", lambda f: f"{f.max_context_tokens:,}")
    yield row("vocabulary", lambda f: f"{f.vocab_size:,}")
    yield row("FLOPs / token", lambda f: f"{f.matrix_flops / 1e9:.2f} G")
    for context in KV_CONTEXTS:
        yield row(f"KV / t, {context // 1024}k", partial(_kv, context))
    stored = {name: None for facts in models for name in facts.weights_bytes}
    for name in [*FORMATS_SHOWN, *(name for name in stored if name not in FORMATS_SHOWN)]:
        if name in stored:
            yield row(name, partial(_weights, name))
    yield row("licence", lambda f: f.licence)


def _experts(facts: Facts) -> str:
    if not facts.experts_total:
        return "-"
    return f"{facts.experts_active} of {facts.experts_total}"


def _kv(context: int, facts: Facts) -> str:
    if context not in facts.kv_bytes:
        return "-"
    return f"{as_size(round(facts.kv_bytes_per_token[context]))}"


def _weights(name: str, facts: Facts) -> str:
    return as_size(facts.weights_bytes[name]) if name in facts.weights_bytes else "-"


def _count(number: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number:,}"


def _cell(text: str) -> str:
    clean = text if text.isprintable() else ascii(text)[1:-1]
    return f"{clean[: _COLUMN - 1]:<{_COLUMN}}"


def _wrapped(text: str) -> tuple[str, str]:
    """Two lines of a column."""
    limit = _COLUMN - 1
    if len(text) <= limit:
        return text, ""
    cut = text.rfind(" ", 0, limit + 1)
    cut = cut if cut > 0 else limit
    return text[:cut], text[cut:].strip()
