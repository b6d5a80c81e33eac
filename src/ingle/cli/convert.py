"""``ingle convert SRC DST``."""

from __future__ import annotations

from ingle.formats.convert import convert as convert_model
from ingle.hub.progress import shown


def convert(source: str, target: str, layout: str = "") -> int:
    """Write a model in another layout and print the path of its weights; 0.

    layout: gguf, hf, openai, or "" to go by the target's name. Progress goes to stderr; what was
    interrupted continues when the same command is given again. Raises IngleError.
    """
    with shown("convert") as progress:
        started = False

        def tell(done_bytes: int, total_bytes: int) -> None:
            nonlocal started
            if not started:
                progress.stage("writing", total_bytes)
                started = True
            progress.at(done_bytes)

        weights = convert_model(source, target, layout, tell)
    print(weights)
    return 0
