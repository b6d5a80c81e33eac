"""Owns the prompts of OpenAI's Completions API: text, ids, or lists of either, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingle.errors import IngleError, PromptTooLongError
from ingle.serve.rack import Answering

MAX_PROMPTS = 1024


@dataclass(frozen=True)
class Prompt:
    """ids: as the model gets them; text: as the client wrote it; num_begun: ids before that.

    first: the text of the first id of all.
    """

    ids: list[int]
    text: str
    num_begun: int
    first: str


def prompts_of(prompt: Any, model: Answering) -> list[Prompt]:
    """Text, ids, or a list of either. Raises IngleError.

    An empty text is the model's beginning token alone, where it has one.
    """
    listed = prompt if isinstance(prompt, list) else [prompt]
    if listed is prompt and listed and all(type(one) is int for one in listed):
        listed = [listed]
    if not 1 <= len(listed) <= MAX_PROMPTS:
        rule = f"it must be 1 to {MAX_PROMPTS} prompts, but got {len(listed)}"
        raise IngleError("prompt", rule)
    begin = model.encode("", begin=True)
    return [_prompt(one, model, begin) for one in listed]


def _prompt(said: Any, model: Answering, begin: list[int]) -> Prompt:
    if isinstance(said, str):
        ids = model.encode(said, with_specials=True)
        before = begin if ids[: len(begin)] != begin else []
        if not said:
            before = begin or _beginning(model)
        found = Prompt([*before, *ids], said, len(before), model.decode(ids[:1]))
    elif isinstance(said, list) and all(type(one) is int for one in said):
        found = Prompt(said, model.decode(said), 0, model.decode(said[:1]))
    else:
        rule = f"it must be text, token ids, or a list of these, but got {said!r:.60}"
        raise IngleError("prompt", rule)
    if not found.ids:
        rule = f"it must have a token to go on from, but got {said!r:.60}"
        raise IngleError("prompt", rule, "this model has no beginning token: say something")
    if len(found.ids) > model.context_tokens:
        raise PromptTooLongError(len(found.ids), model.context_tokens)
    return found


def _beginning(model: Answering) -> list[int]:
    """The token that the model's texts begin with, also where it is not put before each prompt."""
    text = model.tokenizer_facts().get("bos_token")
    return model.encode(text, with_specials=True) if text else []
