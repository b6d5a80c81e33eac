"""Owns what a request of Anthropic's asks of an answer, said in the words of `ingle.llm`.

A budget of thinking is kept to the token; how much effort goes with it follows its size. It does
not know messages, nor events.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from ingle.errors import IngleError, UnsupportedError
from ingle.serve.anthropic.blocks import AnthropicMessage, Content

Number = StrictFloat | StrictInt

LEAST_BUDGET = 1024  # tokens, Anthropic's own rule
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_BUDGETS = ((4096, "low"), (16_384, "medium"))  # tokens below which, and the effort
_THINKING = ("enabled", "disabled", "adaptive", "between_tools")
NAMES = {"format": "output_config.format", "stop": "stop_sequences"}  # of options here
_SAME = ("temperature", "top_p", "top_k")


class Thinking(BaseModel):
    """``thinking``. display: "omitted" keeps its text back."""

    model_config = ConfigDict(extra="allow")

    type: StrictStr
    budget_tokens: StrictInt | None = None
    display: StrictStr | None = None


class OutputConfig(BaseModel):
    """``output_config``: how much effort, and what the answer is held to."""

    model_config = ConfigDict(extra="allow")

    effort: StrictStr | None = None
    format: dict[str, Any] | None = None


class Tool(BaseModel):
    """A tool that the client runs. What is not listed here is tolerated."""

    model_config = ConfigDict(extra="allow")

    name: StrictStr
    type: StrictStr | None = None
    description: StrictStr | None = None
    input_schema: dict[str, Any] | None = None
    strict: StrictBool | None = None


class ToolChoice(BaseModel):
    """``tool_choice``: auto, any, none, or tool with a name."""

    model_config = ConfigDict(extra="allow")

    type: StrictStr
    name: StrictStr | None = None
    disable_parallel_tool_use: StrictBool | None = None


class CountBody(BaseModel):
    """What makes up a prompt. What is not listed here is tolerated."""

    model_config = ConfigDict(extra="allow")

    model: StrictStr = ""
    messages: list[AnthropicMessage] = Field(min_length=1)
    system: Content | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: dict[str, Any] | None = None

    @property
    def may_go_without(self) -> bool:
        """Whether a model that cannot reason will do: reasoning was not insisted on."""
        return self.thinking is None or self.thinking.type != "enabled"

    @property
    def shows_thinking(self) -> bool:
        """Whether blocks of thinking are to be told."""
        return self.thinking is not None and self.thinking.type in ("enabled", "adaptive")

    @property
    def omits_thinking(self) -> bool:
        """Whether they are to be told without their text."""
        return self.thinking is not None and self.thinking.display == "omitted"

    def prompt_wishes(self) -> dict[str, Any]:
        """As `LLM.chat` takes them. Raises IngleError."""
        found: dict[str, Any] = {"reasoning": self._effort()}
        if self.tools:
            found["tools"] = [_declared(i, tool) for i, tool in enumerate(self.tools)]
        if self.tool_choice is not None:
            found["tool_choice"] = self.tool_choice.model_dump(include={"type", "name"})
            if self.tool_choice.disable_parallel_tool_use:
                found["parallel_tool_calls"] = False
        told = None if self.output_config is None else self.output_config.format
        found["format"] = told or self.output_format
        return {name: value for name, value in found.items() if value is not None}

    def _effort(self) -> str | bool | None:
        stated = None if self.output_config is None else self.output_config.effort
        if stated is not None and stated not in _EFFORTS:
            rule = f"it is one of {', '.join(_EFFORTS)}, but got {stated[:80]!r}"
            raise IngleError("output_config.effort", rule)
        if self.thinking is None:
            return None if stated is None else _EFFORTS[stated]
        kind, budget = self.thinking.type, self.thinking.budget_tokens
        if kind not in _THINKING:
            rule = f"it is one of {', '.join(_THINKING)}, but got {kind[:80]!r}"
            raise IngleError("thinking.type", rule)
        if kind == "disabled":
            return False
        if stated is not None:
            return _EFFORTS[stated]
        if kind != "enabled" or budget is None:
            return None
        return next((effort for below, effort in _BUDGETS if budget < below), "high")


class MessagesBody(CountBody):
    """What is asked for. What is not listed here is tolerated."""

    max_tokens: Annotated[StrictInt, Field(ge=1)]
    stream: StrictBool | None = None
    stop_sequences: list[StrictStr] | None = None
    temperature: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    metadata: dict[str, Any] | None = None

    def wishes(self) -> dict[str, Any]:
        """As `LLM.chat` takes them. Raises IngleError."""
        found = self.prompt_wishes() | {"max_tokens": self.max_tokens}
        found |= {name: getattr(self, name) for name in _SAME}
        found["stop"] = self.stop_sequences or None
        found["reasoning_budget"] = self._budget()
        return {name: value for name, value in found.items() if value is not None}

    def _budget(self) -> int | None:
        if self.thinking is None or self.thinking.type != "enabled":
            return None
        budget, where = self.thinking.budget_tokens, "thinking.budget_tokens"
        if budget is None or budget < LEAST_BUDGET:
            raise IngleError(where, f"it is at least {LEAST_BUDGET}, but got {budget}")
        if budget >= self.max_tokens:
            rule = f"it is less than max_tokens, {self.max_tokens}, but got {budget}"
            raise IngleError(where, rule)
        return budget


def without_reasoning(wishes: dict[str, Any]) -> dict[str, Any]:
    """The wishes for a model that has no reasoning to set."""
    return {k: v for k, v in wishes.items() if k not in ("reasoning", "reasoning_budget")}


def _declared(index: int, tool: Tool) -> dict[str, Any]:
    """A tool in OpenAI's shape."""
    if tool.type not in (None, "custom") or tool.input_schema is None:
        rule = f"tools are the client's own, with an input_schema, but got {tool.type!r:.80}"
        hint = "leave it out: Anthropic's servers run it, or their models know its schema"
        raise UnsupportedError(f"tools.{index}.type", rule, hint)
    inner: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description:
        inner["description"] = tool.description
    if tool.strict:
        inner["strict"] = True
    return {"type": "function", "function": inner}
