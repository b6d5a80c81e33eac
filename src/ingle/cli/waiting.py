"""Owns the line that tells how far a long prompt is: ``prompt 3,120/8,000 tokens, 41 s left``.

On a terminal it stands under the cursor and goes away with the first token; in a pipe it is a line
now and then, on stderr. It does not know what is computed; it looks at `Progress`.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ingle.runtime import Progress

PATIENCE_S = 2.0  # a wait shorter than this is not worth a word
_EVERY_S = 0.25, 5.0  # on a terminal, in a pipe
_ERASE = "\r\x1b[K"


def wording(progress: Progress) -> str:
    """The line, without an estimate while there is nothing to judge by; "" once all is computed."""
    total, done = progress.prompt_tokens, progress.computed_tokens
    if done >= total:
        return ""
    said = f"prompt {done:,}/{total:,} tokens"
    fresh = done - progress.cached_tokens
    if fresh <= 0 or progress.prompt_s <= 0:
        return said
    return f"{said}, {math.ceil((total - done) * progress.prompt_s / fresh)} s left"


@contextlib.contextmanager
def told(progress: Progress | None, stream: TextIO | None = None) -> Iterator[None]:
    """Tells on stderr, or `stream`, how far the prompt is, while the body waits for its end."""
    if progress is None:
        yield
        return
    out = stream or sys.stderr
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(progress, out, over), daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _tell(progress: Progress, out: TextIO, over: threading.Event) -> None:
    if over.wait(PATIENCE_S):
        return
    terminal = out.isatty()
    said = False
    while True:
        line = wording(progress)
        if line:
            out.write(f"{_ERASE}{line}" if terminal else f"{line}\n")
            out.flush()
            said = True
        if over.wait(_EVERY_S[0] if terminal else _EVERY_S[1]):
            break
    if said and terminal:
        out.write(_ERASE)
        out.flush()
