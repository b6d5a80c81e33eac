"""Owns what a model's name brings beside weights (a Modelfile's words), ordered by who uses it.

It does not know where names are kept; `hub.settings` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingle import config
from ingle.llm.options import SAMPLING_NAMES, given


@dataclass(frozen=True)
class Named:
    """context, threads: None if neither the name nor the configuration says; system, template:
    texts. sampling: options that take the place of the makers' recommendations, and yield to a
    preset. options: other options of a generation (stop, max_tokens) where a caller gives none.
    """

    context: int | None
    threads: int | None
    system: str | None
    template: str | None
    sampling: Mapping[str, Any]
    options: Mapping[str, Any]


def named(settings: Mapping[str, Any]) -> Named:
    """Order the settings of `hub.settings`. Raises IngleError for a parameter nobody knows."""
    parameters = dict(settings["parameters"])
    context, threads = (parameters.pop(name, None) for name in ("context", "threads"))
    options = given(parameters)
    return Named(
        context or config.get("context"),
        threads or config.get("threads"),
        settings["system"],
        settings["template"],
        {name: value for name, value in options.items() if name in SAMPLING_NAMES},
        {name: value for name, value in options.items() if name not in SAMPLING_NAMES},
    )
