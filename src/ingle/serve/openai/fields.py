"""Owns the fields that OpenAI's APIs have in common, and those that clients of others send along.

Every spelling becomes an option of `LLM.chat` or `LLM.generate`. What is unknown is tolerated; what
would change the answer and cannot be done is refused by its name. It does not know routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, StrictBool, StrictFloat, StrictInt, StrictStr

from ingle.errors import IngleError, UnsupportedError

Number = StrictFloat | StrictInt

# Fields of other servers that would change the answer and are not here, and the values of each
# that change nothing.
_ABSENT: Mapping[str, tuple[Any, ...]] = {
    **dict.fromkeys(("min_tokens", "mirostat", "xtc_probability", "dry_multiplier"), (0,)),
    **dict.fromkeys(("dynatemp_range", "top_a", "no_repeat_ngram_size"), (0,)),
    **dict.fromkeys(("ignore_eos", "use_beam_search", "include_stop_str_in_output"), (False,)),
    **dict.fromkeys(("bad_words", "logits_processors", "allowed_token_ids"), ([],)),
    **dict.fromkeys(("guided_json", "guided_grammar", "grammar", "structured_outputs"), ("",)),
    **dict.fromkeys(("guided_regex", "guided_choice", "json_schema"), ("",)),
    "prompt_logprobs": (),
    "truncate_prompt_tokens": (-1,),
    "tfs_z": (1,),
    "repeat_last_n": (-1, 64),  # all, and llama.cpp's usual
    "modalities": (["text"], []),
}


# The same wish in several words: the nearest effort that models are trained for.
_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high", "disabled": "none"}


class StreamOptions(BaseModel):
    """Of a stream. include_usage: a last chunk tells what was used."""

    include_usage: StrictBool | None = None


class SamplingFields(BaseModel):
    """How tokens are drawn; top_k, min_p and their like are those of vLLM and llama.cpp."""

    model_config = ConfigDict(extra="allow")
    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = _ABSENT
    """Fields that would change the answer and are not here; values of each that would not."""

    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    min_p: Number | None = None
    typical_p: Number | None = None
    seed: StrictInt | None = None
    stop: StrictStr | list[StrictStr] | None = None
    stop_token_ids: list[StrictInt] | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    repetition_penalty: Number | None = None
    repeat_penalty: Number | None = None
    logit_bias: dict[str, Number] | None = None

    def sampling(self) -> dict[str, Any]:
        """As options; what is not set is left out. Raises IngleError."""
        found = {name: getattr(self, name) for name in SamplingFields.model_fields}
        if found["top_k"] == -1:  # vLLM's and llama.cpp's word for all
            found["top_k"] = 0
        if found["seed"] == -1:  # theirs for any
            found["seed"] = None
        found["logit_bias"] = biases(self.logit_bias)
        return {name: value for name, value in found.items() if value is not None}

    def names(self) -> dict[str, str]:
        """What options are called in this body, where it has them under other names."""
        said = {"stop_ids": "stop_token_ids"}
        if self.repetition_penalty is None and self.repeat_penalty is not None:
            said["repetition_penalty"] = "repeat_penalty"
        return said

    def check_refused(self) -> None:
        """Raise UnsupportedError for a field of `refused` that is set; an empty one is, too."""
        said = self.model_extra or {}
        for name, neutral in self.refused.items():
            if said.get(name) is not None and said[name] not in neutral:
                rule = f"it is not supported, but got {said[name]!r:.60}"
                raise UnsupportedError(name, rule, "leave it out")


class ReasoningFields(BaseModel):
    """How much is thought, in the spellings of OpenAI, OpenRouter, vLLM, llama.cpp and others."""

    reasoning_effort: StrictStr | None = None
    reasoning: dict[str, Any] | StrictStr | StrictBool | None = None
    think: StrictStr | StrictBool | None = None
    thinking: dict[str, Any] | StrictBool | None = None
    enable_thinking: StrictBool | None = None
    reasoning_budget: StrictInt | None = None
    thinking_budget: StrictInt | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def reasoning_options(self) -> dict[str, Any]:
        """As options of a chat. Raises IngleError where two spellings differ."""
        variables = dict(self.chat_template_kwargs or {})
        efforts = {
            "reasoning_effort": self.reasoning_effort,
            "think": self.think,
            "enable_thinking": self.enable_thinking,
            **_of_object("reasoning", self.reasoning),
            **_of_object("thinking", self.thinking),
            **{f"chat_template_kwargs.{n}": variables.pop(n, None) for n in _VARIABLES},
        }
        budgets = {
            "reasoning_budget": None if self.reasoning_budget == -1 else self.reasoning_budget,
            "thinking_budget": self.thinking_budget,
            **_budgets("reasoning", self.reasoning, "max_tokens"),
            **_budgets("thinking", self.thinking, "budget_tokens"),
        }
        found = {
            "reasoning": _one(efforts),
            "reasoning_budget": _one(budgets),
            "chat_template_kwargs": variables or None,
        }
        return {name: value for name, value in found.items() if value is not None}


_VARIABLES = ("reasoning_effort", "enable_thinking", "thinking")


def token_limit(fields: Mapping[str, int | None]) -> int | None:
    """The limit of the answer that is set under one of several names; -1 is none.

    Raises IngleError where two differ.
    """
    limit: int | None = _one({name: None if n == -1 else n for name, n in fields.items()})
    return limit


def biases(given: Mapping[str, float] | None) -> dict[int, float] | None:
    """OpenAI's ``logit_bias``, whose keys are ids as text. Raises IngleError."""
    if given is None:
        return None
    found: dict[int, float] = {}
    for token, bias in given.items():
        try:
            found[int(token)] = bias
        except ValueError:
            rule = f"logit_bias must be by token id, but got {token!r:.60}"
            raise IngleError("logit_bias", rule) from None
    return found


def _of_object(name: str, said: Any) -> dict[str, Any]:
    """The effort in ``reasoning`` or ``thinking``: an object, a word, or yes and no."""
    if not isinstance(said, Mapping):
        return {name: said}
    effort, enabled = said.get("effort"), said.get("enabled", said.get("type"))
    for field, value in (("effort", effort), ("enabled", enabled)):
        if not isinstance(value, str | bool | None):
            raise IngleError(f"{name}.{field}", f"it is a word, but got {value!r:.60}")
    switch = enabled if effort is None else None
    if switch in ("enabled", "adaptive"):
        switch = True
    return {f"{name}.effort": effort, f"{name}.enabled": switch}


def _budgets(name: str, said: Any, field: str) -> dict[str, int | None]:
    if not isinstance(said, Mapping) or said.get(field) is None:
        return {}
    value = said[field]
    if isinstance(value, bool) or not isinstance(value, int):
        raise IngleError(f"{name}.{field}", f"it is a whole number, but got {value!r:.60}")
    return {f"{name}.{field}": value}


def _one(said: Mapping[str, Any]) -> Any:
    """The value that all names which are set agree on."""
    found = {name: _EFFORTS.get(v, v) if isinstance(v, str) else v for name, v in said.items()}
    found = {name: value for name, value in found.items() if value is not None}
    for name, value in found.items():
        first = next(iter(found))
        if value != found[first]:
            rule = f"it must say what {first} says, but got {value!r:.40} and {found[first]!r:.40}"
            raise IngleError(name, rule, "say it under one name")
    return next(iter(found.values()), None)
