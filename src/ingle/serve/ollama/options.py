"""Owns what an Ollama request asks of an answer, said in the words of `ingle.llm`.

Options that change how a model computes, and never what it says (num_gpu, num_batch ...), are
tolerated; those that would change the answer in ways ingle has not are refused. Unknown ones are
tolerated, as by Ollama.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictFloat, StrictInt, StrictStr

from ingle.errors import IngleError, UnsupportedError
from ingle.serve.ollama import duration

Number = StrictFloat | StrictInt

_SAME = ("temperature", "top_p", "top_k", "min_p", "typical_p", "stop")
_SAME_PENALTIES = ("presence_penalty", "frequency_penalty")
_MAX_TOP_LOGPROBS = 20
_USUAL_LAST = (-1, 64)  # all, and what Ollama's clients send where nobody chose

# What the options of an answer are called here.
NAMES = {
    **{name: f"options.{name}" for name in (*_SAME, *_SAME_PENALTIES, "seed")},
    "repetition_penalty": "options.repeat_penalty",
    "max_tokens": "options.num_predict",
    "reasoning": "think",
}


class Options(BaseModel):
    """``options``, as a Modelfile's PARAMETER lines name them."""

    model_config = ConfigDict(extra="allow")

    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    min_p: Number | None = None
    typical_p: Number | None = None
    seed: StrictInt | None = None
    num_predict: StrictInt | None = None
    stop: StrictStr | list[StrictStr] | None = None
    repeat_penalty: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    num_ctx: StrictInt | None = None
    mirostat: StrictInt | None = None
    tfs_z: Number | None = None
    repeat_last_n: StrictInt | None = None

    def told(self) -> dict[str, Any]:
        """Under ingle's names; what is not set is left out. Raises UnsupportedError."""
        self._check_supported()
        found = {name: getattr(self, name) for name in (*_SAME, *_SAME_PENALTIES)}
        if found["top_k"] == -1:  # all, as other servers say it
            found["top_k"] = 0
        found["repetition_penalty"] = self.repeat_penalty
        endless = self.num_predict is None or self.num_predict <= 0  # -1 and -2 in Ollama's words
        found["max_tokens"] = None if endless else self.num_predict
        drawn = self.seed is None or self.seed < 0
        found["seed"] = None if drawn else self.seed
        return {name: value for name, value in found.items() if value is not None}

    def check_context(self, context_tokens: int) -> None:
        """Raise IngleError for more context than the model was loaded with."""
        if self.num_ctx is not None and self.num_ctx > context_tokens:
            rule = f"the model is loaded with a context of {context_tokens} tokens"
            hint = f"leave it out, or start the server with --context {self.num_ctx}"
            raise IngleError("options.num_ctx", f"{rule}, but got {self.num_ctx}", hint)

    def _check_supported(self) -> None:
        if self.mirostat:
            rule = f"sampling is by temperature and filters, but got mirostat {self.mirostat}"
            raise UnsupportedError("options.mirostat", rule, "leave it out")
        if self.tfs_z not in (None, 1):
            rule = f"there is no tail-free sampling, but got {self.tfs_z}"
            raise UnsupportedError("options.tfs_z", rule, "leave it out; min_p is close to it")
        if self.repeat_last_n not in (None, *_USUAL_LAST):
            rule = f"penalties are over all of prompt and answer, but got {self.repeat_last_n}"
            raise UnsupportedError("options.repeat_last_n", rule, "leave it out, or say -1")


class AskBody(BaseModel):
    """What bodies of chats and of single prompts share."""

    model_config = ConfigDict(extra="allow")

    model: StrictStr = ""
    stream: StrictBool | None = None
    format: StrictStr | dict[str, Any] | None = None
    options: Options | None = None
    keep_alive: StrictStr | Number | None = None
    think: StrictBool | StrictStr | None = None
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = None

    @property
    def streams(self) -> bool:
        """Whether the answer comes in lines; so it does unless refused."""
        return self.stream is not False

    @property
    def shows_reasoning(self) -> bool:
        """Whether reasoning is to be told."""
        return self.think is not False

    def keep_s(self) -> float | None:
        """Seconds for which the model is to stay; None: nothing was said. Raises IngleError."""
        return None if self.keep_alive is None else duration.seconds(self.keep_alive)

    def wishes(self) -> dict[str, Any]:
        """As `LLM.chat` takes them. Raises IngleError."""
        found = {} if self.options is None else self.options.told()
        if self.format:
            found["format"] = self.format
        if self.think is not None:
            found["reasoning"] = self.think
        if self.logprobs:
            found["logprobs"] = self._num_alternatives()
        return found

    def check_context(self, context_tokens: int) -> None:
        """Raise IngleError for a wish that the loaded model has no room for."""
        if self.options is not None:
            self.options.check_context(context_tokens)

    def _num_alternatives(self) -> int:
        count = self.top_logprobs or 0
        if not 0 <= count <= _MAX_TOP_LOGPROBS:
            rule = f"it must be from 0 to {_MAX_TOP_LOGPROBS}, but got {count}"
            raise IngleError("top_logprobs", rule)
        return count


def without_reasoning(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """The wishes for text that no chat format wraps: there is no reasoning to ask for."""
    return {name: value for name, value in wishes.items() if name != "reasoning"}
