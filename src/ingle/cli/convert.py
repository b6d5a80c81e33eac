"""``ingle convert SRC DST``."""

from __future__ import annotations

from ingle.cli.writing import written
from ingle.formats.convert import convert as convert_model


def convert(source: str, target: str, layout: str = "") -> int:
    """Write a model in another layout and print the path of its weights; 0.

    layout: gguf, hf, openai, or "" to go by the target's name. Progress goes to stderr; what was
    interrupted continues when the same command is given again. Raises IngleError.
    """
    with written("convert") as tell:
        weights = convert_model(source, target, layout, tell)
    print(weights)
    return 0
