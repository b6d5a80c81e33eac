"""Owns what a request to the Responses API asks for, and how it becomes options of a chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, StrictBool, StrictInt, StrictStr

from ingle.errors import IngleError, UnsupportedError
from ingle.serve.openai.fields import ReasoningFields, SamplingFields, token_limit
from ingle.serve.responses.tools import Declared, declared

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"

# What options are called here.
NAMES = {
    "format": "text.format",
    "reasoning": "reasoning.effort",
    "max_tokens": "max_output_tokens",
    "options": "chat_template_kwargs",
    "messages": "input",
    "logprobs": "top_logprobs",
}


class ResponseBody(SamplingFields, ReasoningFields):
    """What is asked for. What is not listed here is tolerated."""

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **SamplingFields.refused,
        "background": (False,),
        "conversation": ("",),
        "prompt": ("",),
        "response_format": (),
        "n": (1,),
    }

    model: StrictStr = ""
    input: StrictStr | list[dict[str, Any]] | None = None
    instructions: StrictStr | None = None
    previous_response_id: StrictStr | None = None
    store: StrictBool | None = None
    stream: StrictBool | None = None
    max_output_tokens: StrictInt | None = None
    max_tokens: StrictInt | None = None
    text: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    include: list[StrictStr] | None = None
    top_logprobs: StrictInt | None = None
    metadata: dict[StrictStr, StrictStr] | None = Field(default=None, max_length=16)
    truncation: StrictStr | None = None
    user: StrictStr | None = None

    def declared(self) -> Declared:
        """The tools, as a model is told of them. Raises IngleError."""
        return declared(self.tools or [], self.tool_choice)

    def options(self, tools: Declared) -> dict[str, Any]:
        """As `LLM.chat` takes them. Raises IngleError."""
        self.check_refused()
        if self.truncation not in (None, "auto", "disabled"):
            rule = f"it must be auto or disabled, but got {self.truncation!r:.60}"
            raise IngleError("truncation", rule)
        limits = {"max_output_tokens": self.max_output_tokens, "max_tokens": self.max_tokens}
        found = {
            "max_tokens": token_limit(limits),
            "logprobs": self._logprobs(),
            "format": self._format(),
            "tools": list(tools.functions) or None,
            "tool_choice": tools.choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            **self.sampling(),
            **self.reasoning_options(),
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def summarizes(self) -> bool:
        """Whether reasoning is wanted as a summary, and not as its text."""
        said = self.reasoning if isinstance(self.reasoning, Mapping) else {}
        wish = said.get("summary", said.get("generate_summary"))
        return wish not in (None, "none")

    @property
    def encodes_reasoning(self) -> bool:
        """Whether reasoning items carry themselves along, for clients that keep the state."""
        return ENCRYPTED in (self.include or ())

    @property
    def tells_logprobs(self) -> bool:
        """Whether text comes with the log-probabilities of its tokens."""
        return LOGPROBS in (self.include or ()) or bool(self.top_logprobs)

    def _logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.tells_logprobs else None

    def _format(self) -> Any:
        wish = (self.text or {}).get("format")
        if wish is None:
            return None
        if not isinstance(wish, Mapping) or not isinstance(wish.get("type"), str):
            raise IngleError("text.format", f"it is an object with a type, but got {wish!r:.80}")
        if wish["type"] not in ("text", "json_object", "json_schema"):
            rule = (
                f"its type must be text, json_object or json_schema, but got {wish['type']!r:.60}"
            )
            raise UnsupportedError("text.format", rule)
        return wish

    def told(self) -> dict[str, Any]:
        """What a response says of its request."""
        reasoning = self.reasoning if isinstance(self.reasoning, Mapping) else {}
        return {
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": self.metadata or {},
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "previous_response_id": self.previous_response_id,
            "reasoning": {
                "effort": reasoning.get("effort", self.reasoning_effort),
                "summary": reasoning.get("summary"),
            },
            "store": self.store is not False,
            "temperature": self.temperature,
            "text": {"format": {"type": "text"}, **(self.text or {})},
            "tool_choice": "auto" if self.tool_choice is None else self.tool_choice,
            "tools": self.tools or [],
            "top_logprobs": self.top_logprobs or 0,
            "top_p": self.top_p,
            "truncation": self.truncation or "disabled",
            "user": self.user,
        }
