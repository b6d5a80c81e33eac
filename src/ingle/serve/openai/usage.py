"""Owns what OpenAI's APIs tell of an answer's end: why it ended, and what it used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingle.llm import Completion


def finish_reason(one: Completion) -> str:
    """Why it ended, in OpenAI's words."""
    return "stop" if one.finish_reason == "cancelled" else one.finish_reason


def usage_of(completions: Sequence[Completion]) -> dict[str, Any]:
    """Of answers to one prompt, which counts once."""
    return usage_of_all([completions])


def usage_of_all(answers: Sequence[Sequence[Completion]]) -> dict[str, Any]:
    """Of answers to several prompts, each of which counts once."""
    firsts = [made[0].usage for made in answers]
    every = [one.usage for made in answers for one in made]
    prompt = sum(one.prompt_tokens for one in firsts)
    completion = sum(one.completion_tokens for one in every)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(one.cached_tokens for one in firsts)},
        "completion_tokens_details": {
            "reasoning_tokens": sum(one.reasoning_tokens for one in every)
        },
    }
