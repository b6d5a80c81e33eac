"""Owns the options of one generation as a caller names them, and how they become a request.

What is not given (or None) comes from the preset, else from what the model's makers recommend.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from typing import Any, TypedDict

from ingle.errors import IngleError
from ingle.runtime import Request, SamplingParams
from ingle.runtime.presets import preset


class GenerateOptions(TypedDict, total=False):
    """Options of `LLM.generate` and `LLM.chat`; see `SamplingParams` for what sampling ones mean.

    preset: "creative", "code" or "precise" (`ingle.runtime.presets`), over which single options
    win. stop: strings that end the answer and are left out of it. stop_ids: token ids that do,
    besides the model's own. logprobs: report log-probabilities with so many alternatives (0..20).
    num_experts_per_tok: experts each token goes to, in a mixture of experts.
    """

    preset: str | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    typical_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float] | None
    seed: int | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    stop_ids: Collection[int] | None
    logprobs: int | None
    num_experts_per_tok: int | None


_NAMES = tuple(GenerateOptions.__annotations__)
_SAMPLING = tuple(field.name for field in fields(SamplingParams))


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are set. Raises IngleError for a name that is none."""
    for name in options:
        if name not in _NAMES:
            close = difflib.get_close_matches(name, _NAMES, 1)
            hint = f"did you mean {close[0]}?" if close else f"options are {', '.join(_NAMES)}"
            raise IngleError("options", f"an option must be a known one, but got {name}", hint)
    return {name: value for name, value in options.items() if value is not None}


def request(
    prompt_ids: Sequence[int],
    options: Mapping[str, Any],
    recommended: Mapping[str, Any],
    end_ids: frozenset[int],
) -> Request:
    """The request for `options` (of `given`); raises IngleError for values that cannot be meant.

    recommended: sampling options for this model. end_ids: its own ends of an answer.
    """
    usual = preset(options["preset"]) if "preset" in options else recommended
    sampling = dict(usual) | {k: v for k, v in options.items() if k in _SAMPLING}
    return Request(
        prompt_ids,
        SamplingParams(**sampling),
        max_tokens=options.get("max_tokens"),
        stop_ids=end_ids | _stop_ids(options.get("stop_ids", ())),
        logprobs=options.get("logprobs"),
        num_experts_per_tok=options.get("num_experts_per_tok"),
    )


def _stop_ids(ids: Any) -> frozenset[int]:
    if not isinstance(ids, Collection) or not all(isinstance(i, Integral) for i in ids):
        raise IngleError("stop_ids", f"stop_ids must be token ids, but got {ids!r:.60}")
    return frozenset(map(int, ids))
