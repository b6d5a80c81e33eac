"""Owns how a finished answer is accounted for: the JSON object, the lines of --verbose."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingle.llm import Completion


def as_json(model: str, completion: Completion) -> str:
    """The answer as one JSON object on one line; times in seconds, null where unknown."""
    timings = dataclasses.asdict(completion.timings)
    return json.dumps(
        {
            "model": model,
            "text": completion.text,
            "prompt_tokens": completion.usage.prompt_tokens,
            "completion_tokens": completion.usage.completion_tokens,
            "finish_reason": completion.finish_reason,
            "timings": {k: v if math.isfinite(v) else None for k, v in timings.items()},
        },
        ensure_ascii=False,
    )


def tell(model: str, kernels: str, completion: Completion) -> None:
    """Say on stderr what answered and how fast."""
    usage, timings = completion.usage, completion.timings
    kept = f" ({usage.cached_tokens} of them kept)" if usage.cached_tokens else ""
    lines = (
        ("model", f"{model}, {kernels} kernels, loaded in {timings.load_s:.2f} s"),
        (
            "prompt",
            f"{usage.prompt_tokens} tokens{kept} in {timings.prompt_s:.2f} s,"
            f" {timings.prompt_tokens_per_s:.1f} tokens/s,"
            f" first token after {timings.first_token_s:.2f} s",
        ),
        (
            "answer",
            f"{usage.completion_tokens} tokens in {timings.decode_s:.2f} s,"
            f" {timings.decode_tokens_per_s:.1f} tokens/s, ended by {completion.finish_reason}",
        ),
    )
    for label, text in lines:
        print(f"{label:<8}{text}", file=sys.stderr)
