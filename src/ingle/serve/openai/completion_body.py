"""Owns what a request to OpenAI's Completions API asks for, and how it becomes options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, StrictBool, StrictInt, StrictStr

from ingle.errors import IngleError, UnsupportedError
from ingle.serve.openai.chat import MAX_CHOICES
from ingle.serve.openai.fields import SamplingFields, StreamOptions

USUAL_TOKENS = 16  # of an answer, as OpenAI's reference has it


class CompletionBody(SamplingFields):
    """What is asked for. What is not listed here is tolerated."""

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **SamplingFields.refused,
        "prompt_embeds": (),
    }

    model: StrictStr = ""
    prompt: Any
    suffix: StrictStr | None = None
    max_tokens: StrictInt | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    echo: StrictBool | None = None
    logprobs: StrictInt | None = None
    n: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = None
    best_of: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = None
    response_format: dict[str, Any] | None = None
    user: StrictStr | None = None

    def options(self) -> dict[str, Any]:
        """As `LLM.generate` takes them. Raises IngleError."""
        most = USUAL_TOKENS if self.max_tokens is None else self.max_tokens
        found = {
            "max_tokens": None if most == -1 else most,
            "logprobs": 0 if self._chooses and self.logprobs is None else self.logprobs,
            "prompt_logprobs": self.logprobs if self.echo else None,
            "format": self.response_format,
            **self.sampling(),
        }
        if most == 0 and found["prompt_logprobs"] is None:
            found["prompt_logprobs"] = 0  # nothing is drawn
        return {name: value for name, value in found.items() if value is not None}

    @property
    def _chooses(self) -> bool:
        return (self.best_of or 0) > (self.n or 1)

    def check(self) -> None:
        """Raise IngleError for fields that are not here, or cannot be meant together."""
        self.check_refused()
        count = self.n or 1
        if self.suffix:
            rule = f"text is continued at its end alone, but got {self.suffix!r:.40}"
            raise UnsupportedError("suffix", rule, "leave it out")
        if self.best_of is not None and self.best_of < count:
            raise IngleError("best_of", f"it must be at least n = {count}, but got {self.best_of}")
        if self.stream and self._chooses:
            rule = f"the best are known at the end, but got a stream and {self.best_of} of {count}"
            raise IngleError("best_of", rule, "leave stream or best_of out")
