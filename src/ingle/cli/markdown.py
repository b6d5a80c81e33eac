"""Owns Markdown on a terminal while it is still being written.

Blocks that are complete are printed for good; the block in progress is redrawn below them, its
last lines if it is taller than the screen. It does not know where the text comes from.
"""

from __future__ import annotations

import re
from time import monotonic
from typing import ClassVar

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.syntax import Syntax

from ingle.cli.answer import harmless

_REDRAW_S = 0.08
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


class MarkdownDisplay:
    """One answer, rendered as it comes."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._text = ""  # of the block in progress
        self._printed = False
        self._drawn_at = 0.0
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def write(self, text: str) -> None:
        """Show more of the answer."""
        blocks, self._text = complete_blocks(self._text + harmless(text))
        if not self._live.is_started:
            self._live.start()
        for block in blocks:
            self._live.update("")
            self._print(block)
        if blocks or monotonic() - self._drawn_at >= _REDRAW_S:
            self._live.update(self._in_progress(), refresh=True)
            self._drawn_at = monotonic()

    def end(self) -> None:
        """Show the last block for good."""
        if self._live.is_started:
            self._live.update("")
            self._live.stop()
        self._print(self._text)
        self._text = ""

    def _in_progress(self) -> RenderableType:
        """The block that is being written, below a blank line, as far as the screen has room."""
        if not self._text.strip():
            return ""
        lines = Lines(self._text, room=max(self._console.height - 3, 1))
        return Group("", lines) if self._printed else lines

    def _print(self, block: str) -> None:
        if not block.strip():
            return
        if self._printed:
            self._console.print()
        self._console.print(Lines(block))
        self._printed = True


class Lines:
    """Markdown without blank lines around it; only its last `room` lines if that is set."""

    def __init__(self, text: str, room: int | None = None) -> None:
        self._text, self._room = text, room

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(_Terse(self._text), options.update(height=None), pad=False)
        filled = [place for place, line in enumerate(lines) if _is_filled(line)]
        shown = lines[filled[0] : filled[-1] + 1] if filled else []
        for line in shown if self._room is None else shown[-self._room :]:
            yield from line
            yield Segment.line()


def _is_filled(line: list[Segment]) -> bool:
    return any(segment.text.strip() for segment in line)


def complete_blocks(text: str) -> tuple[list[str], str]:
    """The blocks of Markdown in `text` that nothing said later can change, and the rest.

    A block ends at a blank line outside a fence, if the line after it has begun and does not
    belong to a list item above it (by being indented).

    >>> complete_blocks("One.\\n\\n- two\\n\\n  still two\\n\\nThr")
    (['One.\\n\\n', '- two\\n\\n  still two\\n\\n'], 'Thr')
    """
    blocks: list[str] = []
    start = place = 0
    fence, blank = "", False
    for line in text.splitlines(keepends=True):
        if not fence and blank and line[0] not in " \t\r\n":
            blocks.append(text[start:place])
            start = place
        match = _FENCE.match(line)
        if fence:
            closes = match is not None and line.strip() == match[1] and match[1].startswith(fence)
            fence = "" if closes else fence
        elif match:
            fence = match[1]
        blank = not line.strip()
        place += len(line)
    return blocks, text[start:]


class _PlainHeading(Heading):
    """A heading at the left, as everything else."""

    LEVEL_ALIGN: ClassVar = dict.fromkeys(Heading.LEVEL_ALIGN, "left")


class _PlainCode(CodeBlock):
    """Code in the terminal's own colours, without a frame, so that it can be copied."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        yield Syntax(
            code, self.lexer_name, theme="ansi_dark", word_wrap=True, background_color="default"
        )


class _Terse(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _PlainHeading,
        "fence": _PlainCode,
        "code_block": _PlainCode,
    }
