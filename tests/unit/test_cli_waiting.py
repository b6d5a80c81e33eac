"""How far a long prompt is, as a person sees it; and that the engine keeps count."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pytest

from ingle.cli import waiting
from ingle.runtime import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_tells_tokens_and_time() -> None:
    progress = Progress(8000)
    assert waiting.wording(progress) == "prompt 0/8,000 tokens"
    progress.computed_tokens, progress.prompt_s = 3120, 26.2
    assert waiting.wording(progress) == "prompt 3,120/8,000 tokens, 41 s left"
    progress.computed_tokens = 8000
    assert waiting.wording(progress) == ""


def test_what_was_at_hand_says_nothing_about_speed() -> None:
    progress = Progress(1000, cached_tokens=500)
    progress.computed_tokens = 500
    assert waiting.wording(progress) == "prompt 500/1,000 tokens"
    progress.computed_tokens, progress.prompt_s = 750, 5.0
    assert waiting.wording(progress) == "prompt 750/1,000 tokens, 5 s left"


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_terminal_is_left_clean(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[], io.StringIO]
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.0)
    out, progress = kind(), Progress(600)
    with waiting.told(progress, out):
        while "prompt" not in out.getvalue():
            time.sleep(0.001)
    text = out.getvalue()
    assert text.endswith("\r\x1b[K" if kind is Terminal else "tokens\n")


def test_a_short_wait_says_nothing() -> None:
    out = Terminal()
    with waiting.told(Progress(600), out):
        pass
    assert out.getvalue() == ""
