"""Owns drawing a model's block as SVG: what a token passes through, bottom to top.

Colours come from the page's own text colour, so that light and dark both work. It does not know
pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ingle.plan.comparison import Facts

WIDTH, HEIGHT = 260, 470
_LEFT, _BOX_WIDTH = 50, 180
_MIDDLE = _LEFT + _BOX_WIDTH // 2


def block_svg(facts: Facts) -> str:
    """A drawing of 260 x 470, with a title for those who cannot see it."""
    words = escape(
        f"{facts.title}: {facts.num_hidden_layers} times {_attention(facts)}, then {_mlp(facts)}"
    )
    parts = "".join(_parts(facts))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{words}" xmlns="http://www.w3.org/2000/svg" fill="none" '
        f'stroke="currentColor" font-family="system-ui, sans-serif" font-size="12">'
        f"<title>{words}</title>{parts}</svg>"
    )


def _parts(facts: Facts) -> Iterator[str]:
    norm = facts.parts.norms.split()[0]
    sandwich = "after" in facts.parts.norms
    yield from _box(430, f"embedding {facts.vocab_size:,} x {facts.hidden_size:,}", "embedding")
    if facts.parts.positions == "learned":
        yield from _side(430, "+ position")
    yield _line(430, 400)
    yield (
        '<rect x="30" y="85" width="220" height="315" rx="10" stroke-dasharray="4 4" '
        'opacity="0.5"/>'
    )
    yield _text(244, 101, f"x {facts.num_hidden_layers}", "end")
    attention, mlp = _attention_lines(facts), _mlp_lines(facts)
    bottom = 390
    for lines, kind in ((attention, "attention"), (mlp, "mlp")):
        yield from _half(bottom, norm, lines, kind, sandwich)
        bottom = _sum_y(bottom, lines) - 18
    yield _line(bottom + 10, 66)
    yield from _box(42, norm, "norm")
    yield _line(42, 34)
    yield from _box(10, f"output, {facts.vocab_size:,} logits", "head")


def _sum_y(bottom: int, lines: list[str]) -> int:
    """Where a branch of so many lines returns to the stream."""
    return bottom - 60 - 24 - 15 * (len(lines) - 1)


def _half(bottom: int, norm: str, lines: list[str], kind: str, sandwich: bool) -> Iterator[str]:
    """A residual branch: norm, work, sum; the stream passes on the left."""
    yield _line(bottom + 10, bottom - 10)
    yield from _box(bottom - 34, norm + (" of input" if sandwich else ""), "norm")
    yield _line(bottom - 34, bottom - 44)
    height = 24 + 15 * (len(lines) - 1)
    top = bottom - 44 - height
    yield from _box(top, lines, kind)
    y = _sum_y(bottom, lines)
    yield _line(top, y + 8)
    if sandwich:
        yield _text(_MIDDLE + 14, y + 5, f"after {norm}")
    yield f'<circle cx="{_MIDDLE}" cy="{y}" r="8"/>'
    yield _text(_MIDDLE, y + 4, "+", "middle")
    yield f'<path d="M{_MIDDLE} {bottom} H40 V{y} H{_MIDDLE - 8}" opacity="0.7"/>'


def _box(y: int, words: str | list[str], kind: str) -> Iterator[str]:
    lines = [words] if isinstance(words, str) else words
    height = 24 + 15 * (len(lines) - 1)
    opacity = {"attention": 0.18, "mlp": 0.18, "norm": 0.05}.get(kind, 0.1)
    yield (
        f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{_BOX_WIDTH}" height="{height}" rx="5" '
        f'fill="currentColor" fill-opacity="{opacity}"/>'
    )
    for index, line in enumerate(lines):
        yield _text(_MIDDLE, y + 16 + 15 * index, line, "middle")


def _side(y: int, words: str) -> Iterator[str]:
    yield _text(_MIDDLE + 10, y - 10, words)


def _line(start: int, end: int) -> str:
    return f'<path d="M{_MIDDLE} {start} V{end}"/>'


def _text(x: int, y: int, words: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="currentColor" '
        f'stroke="none">{escape(words)}</text>'
    )


def _attention_lines(facts: Facts) -> list[str]:
    heads = f"{facts.num_attention_heads} heads of {facts.head_dim}"
    shared = "each its own key"
    if facts.num_key_value_heads != facts.num_attention_heads:
        shared = f"on {facts.num_key_value_heads} keys and values"
    seen = facts.parts.attention
    return [f"attention: {heads}", shared, _short(seen), f"positions: {facts.parts.positions}"]


def _mlp_lines(facts: Facts) -> list[str]:
    sizes = f"{facts.hidden_size:,} to {facts.intermediate_size:,}"
    if facts.experts_total:
        chosen = f"{facts.experts_active} of {facts.experts_total} experts"
        return [chosen, "chosen by a router", facts.parts.activation, sizes]
    return [f"MLP, {facts.parts.activation}", sizes]


def _attention(facts: Facts) -> str:
    return f"attention with {facts.num_attention_heads} heads, {facts.parts.attention}"


def _mlp(facts: Facts) -> str:
    return ", ".join(_mlp_lines(facts))


def _short(text: str, limit: int = 30) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def file_svg(facts: Facts) -> str:
    """The drawing as a file of its own, dark on light or light on dark as its reader's screen."""
    style = (
        "<style>svg { color: #1d1d1f } "
        "@media (prefers-color-scheme: dark) { svg { color: #ece8e1 } }</style>"
    )
    return block_svg(facts).replace("<title>", style + "<title>", 1) + "\n"
