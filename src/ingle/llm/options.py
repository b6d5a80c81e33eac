"""Owns the options of one generation as a caller names them, and how they become a request.

What is not given (or None) comes from the preset, else from what the model's makers recommend.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypedDict

from ingle.chat.message import ToolCall
from ingle.errors import IngleError
from ingle.ops import TokenConstraint
from ingle.runtime import Request, SamplingParams
from ingle.runtime.presets import preset

if TYPE_CHECKING:  # with tools alone: they load slowly
    from ingle.chat.tools import ToolResult


class GenerateOptions(TypedDict, total=False):
    """Options of `LLM.generate` and `LLM.chat`; see `SamplingParams` for what sampling ones mean.

    preset: "creative", "code" or "precise" (`ingle.runtime.presets`), over which single options
    win. stop: strings that end the answer and are left out of it. stop_ids: token ids that do,
    besides the model's own. logprobs: report log-probabilities with so many alternatives (0..20);
    prompt_logprobs: those of the prompt too, and max_tokens may then be 0.
    num_experts_per_tok: experts each token goes to, in a mixture of experts. format: what the
    answer is held to, from "json" to a schema, a regular expression or a grammar (`AnswerFormat`).
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
    prompt_logprobs: int | None
    num_experts_per_tok: int | None
    format: Any


class ChatOptions(GenerateOptions, total=False):
    """Options of `LLM.chat` alone, beside those of any generation.

    reasoning: "low", "medium", "high", or True/False ("on"/"off"), where the chat template takes
    it. reasoning_budget: at most so many tokens of reasoning, after which the answer begins; with
    max_tokens, a quarter of these is kept for it. chat_template: Jinja that takes the place of the
    model's own. chat_template_kwargs: other variables that the template names, as in transformers
    and vLLM. style: "structured" asks for an answer in four parts and holds it to them, in
    Markdown or, with format="json", in JSON.

    tools: Python functions, or declarations in OpenAI's shape (`ingle.chat.tools.Tool.of`).
    tool_choice: "auto", "none", "required" or a tool's name; parallel_tool_calls: whether one reply
    may make several. Calls of functions are made and
    answered, up to max_turns replies; approve, asked before each call, may decline it; on_result
    is handed each result. Without functions the calls are in the completion.
    """

    reasoning: str | bool | None
    reasoning_budget: int | None
    style: str | None
    tools: Sequence[Any] | None
    tool_choice: Any
    parallel_tool_calls: bool | None
    max_turns: int | None
    approve: Callable[[ToolCall], bool] | None
    on_result: Callable[[ToolResult], object] | None
    chat_template_kwargs: Mapping[str, Any] | None
    chat_template: str | None


# The same wish in the words of transformers, vLLM, llama.cpp, Ollama and OpenAI.
_ALIASES = {
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "num_predict": "max_tokens",
    "repeat_penalty": "repetition_penalty",
    "stop_token_ids": "stop_ids",
    "reasoning_effort": "reasoning",
    "think": "reasoning",
    "thinking_budget": "reasoning_budget",
    "response_format": "format",
}
_NAMES = tuple(GenerateOptions.__annotations__)
_CHAT_NAMES = tuple(ChatOptions.__annotations__)  # a TypedDict's annotations hold those it inherits
SAMPLING_NAMES = tuple(field.name for field in fields(SamplingParams))


def given(options: Mapping[str, Any], names: Sequence[str] = _NAMES) -> dict[str, Any]:
    """The options that are set, by ingle's own names. Raises IngleError for a name that is none.

    >>> given({"max_new_tokens": 8, "seed": None})
    {'max_tokens': 8}
    """
    found: dict[str, Any] = {}
    for said, value in options.items():
        name = said if said in names else _ALIASES.get(said, said)
        if name not in names:
            close = difflib.get_close_matches(said, names, 1)
            hint = f"did you mean {close[0]}?" if close else f"options are {', '.join(names)}"
            raise IngleError("options", f"an option must be a known one, but got {said}", hint)
        if value is not None and name in found:
            raise IngleError(said, f"{name} must be said once, but got it by two names")
        if value is not None:
            found[name] = value
    return found


def given_chat(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of `ChatOptions` that are set: those of a generation, and a chat's own.

    >>> given_chat({"seed": 1, "reasoning_effort": "low"})
    ({'seed': 1}, {'reasoning': 'low'})
    """
    found = given(options, _CHAT_NAMES)
    own = {name: found.pop(name) for name in _CHAT_NAMES if name not in _NAMES and name in found}
    return found, own


def request(
    prompt_ids: Sequence[int],
    options: Mapping[str, Any],
    recommended: Mapping[str, Any],
    end_ids: frozenset[int],
    constraint: TokenConstraint | None = None,
) -> Request:
    """The request for `options` (of `given`); raises IngleError for values that cannot be meant.

    recommended: sampling options for this model. end_ids: its own ends of an answer. constraint:
    what the answer may say.
    """
    usual = preset(options["preset"]) if "preset" in options else recommended
    sampling = dict(usual) | {k: v for k, v in options.items() if k in SAMPLING_NAMES}
    if sampling.get("top_p") == 0 and sampling["top_p"] is not False:
        sampling |= {"top_p": 1.0, "top_k": 1}  # the fewest that reach it is one
    return Request(
        prompt_ids,
        SamplingParams(**sampling),
        max_tokens=options.get("max_tokens"),
        stop_ids=end_ids | _stop_ids(options.get("stop_ids", ())),
        logprobs=options.get("logprobs"),
        num_experts_per_tok=options.get("num_experts_per_tok"),
        constraint=constraint,
        prompt_logprobs=options.get("prompt_logprobs"),
    )


def _stop_ids(ids: Any) -> frozenset[int]:
    if not isinstance(ids, Collection) or not all(isinstance(i, Integral) for i in ids):
        raise IngleError("stop_ids", f"stop_ids must be token ids, but got {ids!r:.60}")
    return frozenset(map(int, ids))
