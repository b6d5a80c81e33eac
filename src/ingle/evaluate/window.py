"""Owns cutting a text into windows and naming the rows that count, by llama.cpp's definition.

Windows of `context_tokens` ids lie one after another; each begins with the model's beginning token
if it has one, in place of the id that lies there; of each the second half is predicted.
It does not know models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingle.errors import IngleError

MIN_CONTEXT = 4
MAX_TEXT_BYTES = 1 << 30


@dataclass(frozen=True)
class Windows:
    """ids of every window, (num_windows, context_tokens)."""

    ids: tuple[tuple[int, ...], ...]
    context_tokens: int

    @property
    def scored(self) -> range:
        """Positions whose logits count: each predicts the id after it."""
        return range(self.context_tokens // 2, self.context_tokens - 1)

    @property
    def num_scored(self) -> int:
        """Predictions in all windows."""
        return len(self.ids) * len(self.scored)


def cut(
    ids: Sequence[int], context_tokens: int, limit: int | None, beginning: int | None
) -> Windows:
    """At most `limit` windows. IngleError when the text does not fill one."""
    if context_tokens < MIN_CONTEXT:
        rule = f"windows must have at least {MIN_CONTEXT} tokens, but got {context_tokens}"
        raise IngleError("context", rule)
    if limit is not None and limit < 1:
        raise IngleError("chunks", f"the count must be 1 or more, but got {limit}")
    count = len(ids) // context_tokens
    if not count:
        raise IngleError(
            "text",
            f"it must fill a window of {context_tokens} tokens, but got {len(ids)}",
            "choose a smaller --context, or a longer text",
        )
    windows = []
    for start in range(0, min(count, limit or count) * context_tokens, context_tokens):
        window = list(ids[start : start + context_tokens])
        if beginning is not None:
            window[0] = beginning
        windows.append(tuple(window))
    return Windows(tuple(windows), context_tokens)


def read_text(path: str | Path) -> str:
    """A UTF-8 text file as it stands, without its last newline, as llama.cpp's programs read it.

    Raises IngleError when it cannot be read, is no UTF-8, or exceeds 1 GiB.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise IngleError(str(path), "text must be a file, but got none")
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise IngleError(str(path), f"text must have at most 1 GiB, but got {size} bytes")
        return path.read_bytes().decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        rule = f"text must be UTF-8, but got another byte at offset {error.start}"
        raise IngleError(str(path), rule) from None
    except OSError as error:
        raise IngleError(str(path), f"text must be readable, but got {error.strerror}") from None
