"""Owns what prompts must be, and which of them begin the turns of a conversation.

It does not know chat formats beyond their marks.
"""

from __future__ import annotations

from typing import Any

from ingle.errors import IngleError, PromptTooLongError
from ingle.tokenizer import Tokenizer

_TURNS = ("<|start|>", "<|im_start|>", "<|start_header_id|>", "<|turn>")  # of chat formats


def turn_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The special tokens at which a turn of a conversation begins, as far as they are known."""
    found = (tokenizer.special_tokens.get(text) for text in _TURNS)
    return frozenset(i for i in found if i is not None)


def checked_ids(prompt: Any) -> list[int]:
    """A prompt that is said to be ids. Raises IngleError for what is not."""
    if not isinstance(prompt, list | tuple) or not all(type(i) is int for i in prompt):
        raise IngleError("prompt", f"prompt must be text or ids, but got {prompt!r:.60}")
    return list(prompt)


def check_length(num_tokens: int, context: int, most: int) -> None:
    """Raise IngleError for a prompt longer than the context; most: tokens that the model takes."""
    if num_tokens <= context:
        return
    hint = f"shorten the prompt: the model takes {most} tokens at most"
    if num_tokens <= most and context < most:
        hint = f"shorten the prompt, or load the model with a larger context, up to {most}"
    raise PromptTooLongError(num_tokens, context, hint)


def check_no_stream(stream: bool) -> None:
    """Raise IngleError where a list of prompts is to be streamed."""
    if stream:
        rule = "one prompt can be streamed at a time, but got a list of them"
        raise IngleError("stream", rule, "stream each prompt by itself")
