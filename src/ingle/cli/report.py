"""Owns how a finished answer is accounted for: the JSON object, the lines of --verbose."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingle.chat.tools import ToolResult
    from ingle.llm import Completion, TokenLogprob


def as_json(
    model: str,
    completion: Completion,
    answer: str | None = None,
    reasoning: str = "",
    results: Sequence[ToolResult] = (),
) -> str:
    """The answer as one JSON object on one line; times in seconds, null where unknown.

    answer: the completion's text without its reasoning, which is told as `reasoning` if there is
    any; None: all of it is the answer. results: of calls that were made, told as `calls`; those
    that were not are `tool_calls`, in OpenAI's shape. `logprobs` is there if it was asked for:
    token_id, text, logprob and top of each token.
    """
    timings = dataclasses.asdict(completion.timings)
    told: dict[str, Any] = {
        "model": model,
        "text": completion.text if answer is None else answer,
        "prompt_tokens": completion.usage.prompt_tokens,
        "completion_tokens": completion.usage.completion_tokens,
        "finish_reason": completion.finish_reason,
        "timings": {name: _number(seconds) for name, seconds in timings.items()},
    }
    if reasoning:
        told["reasoning"] = reasoning
    if results:
        told["calls"] = [
            {**dataclasses.asdict(one.call), "result": one.content, "failed": one.failed}
            for one in results
        ]
    if completion.tool_calls:
        told["tool_calls"] = [call.as_dict() for call in completion.tool_calls]
    if completion.logprobs is not None:
        told["logprobs"] = [
            {**_entry(one), "top": [_entry(other) for other in one.top]}
            for one in completion.logprobs
        ]
    return json.dumps(told, ensure_ascii=False, allow_nan=False)


def why_cut(completion: Completion, context_tokens: int) -> str:
    """Why an answer ended before its model was done: a few words; "" if it was."""
    if completion.finish_reason == "cancelled":
        return "stopped"
    if completion.finish_reason != "length":
        return ""
    full = completion.usage.total_tokens >= context_tokens
    return "context full" if full else "max tokens"


def cut_note(cut: str, completion: Completion, remedy: str) -> str:
    """The line that says so; remedy: what to do about a full context."""
    usage = completion.usage
    told = {
        "stopped": "(stopped)",
        "max tokens": f"(cut: max tokens, {usage.completion_tokens}, is reached)",
        "context full": f"(cut: the context is full at {usage.total_tokens} tokens; {remedy})",
    }
    return told[cut]


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
        *_other_lines(completion),
    )
    for label, text in lines:
        print(f"{label:<8}{text}", file=sys.stderr)


def _other_lines(completion: Completion) -> Iterator[tuple[str, str]]:
    """What holding the answer to a format cost, and how often the model's own was put right."""
    cost = completion.constraint_cost
    if cost is not None and cost.masks:
        yield (
            "format",
            f"vocabulary read in {cost.vocabulary_s:.2f} s, grammar in {cost.compile_s * 1e3:.1f}"
            f" ms, {cost.masks} masks of {cost.mask_us:.0f} µs",
        )
    if completion.repairs:
        told = ", ".join(f"{rule} {count}" for rule, count in completion.repairs.items())
        yield "repairs", f"{sum(completion.repairs.values())} of the model's format: {told}"


def _entry(one: TokenLogprob) -> dict[str, Any]:
    return {"token_id": one.token_id, "text": one.text, "logprob": _number(one.logprob)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
