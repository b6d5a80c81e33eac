"""``/v1/chat/completions``: owns OpenAI's Chat API: its route, its body, its answers.

It follows the API reference of OpenAI; fields of other servers that clients send mean what they
mean there (`fields`). Streams are `chunks`'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field, StrictBool, StrictInt, StrictStr

from ingle.chat.openai_messages import read_messages
from ingle.errors import IngleError
from ingle.llm import Completion, TokenLogprob
from ingle.serve import exchange, sse
from ingle.serve.connection import unless_gone
from ingle.serve.heartbeat import lively
from ingle.serve.json_body import JsonBody
from ingle.serve.openai.chunks import Head, chunks
from ingle.serve.openai.fields import (
    ReasoningFields,
    SamplingFields,
    StreamOptions,
    token_limit,
)
from ingle.serve.openai.logprobs import chat_logprobs, shown_tokens
from ingle.serve.openai.usage import finish_reason, usage_of
from ingle.serve.rack import Rack
from ingle.serve.recall import Recall
from ingle.serve.refusal import named
from ingle.serve.turn import Turn, with_system

MAX_CHOICES = 16
GONE = 499  # nginx's status for a client that went away

# What options are called here.
NAMES = {
    "format": "response_format",
    "reasoning": "reasoning_effort",
    "options": "chat_template_kwargs",
    "logprobs": "top_logprobs",
}


class ChatBody(SamplingFields, ReasoningFields):
    """What is asked for. What is not listed here is tolerated."""

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **SamplingFields.refused,
        "functions": ([],),
        "function_call": ("none", "auto"),
        "audio": (),
        "web_search_options": (),
        "chat_template": ("",),
        "add_generation_prompt": (True,),
        "continue_final_message": (False,),
        "echo": (False,),
        "documents": ([],),
    }

    model: StrictStr = ""
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: StrictInt | None = None
    max_completion_tokens: StrictInt | None = None
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = None
    n: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    include_reasoning: StrictBool | None = None
    user: StrictStr | None = None

    def options(self) -> dict[str, Any]:
        """As `LLM.chat` takes them. Raises IngleError."""
        self.check_refused()
        limits = {
            "max_completion_tokens": self.max_completion_tokens,
            "max_tokens": self.max_tokens,
        }
        found = {
            "max_tokens": token_limit(limits),
            "logprobs": self._logprobs(),
            "format": self.response_format,
            "tools": self.tools or None,
            "tool_choice": self.tool_choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            **self.sampling(),
            **self.reasoning_options(),
        }
        return {name: value for name, value in found.items() if value is not None}

    def names(self) -> dict[str, str]:
        """What options are called in this body, where it has them under other names."""
        if self.max_tokens is None and self.max_completion_tokens is not None:
            return super().names() | {"max_tokens": "max_completion_tokens"}
        return super().names()

    def _logprobs(self) -> int | None:
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            rule = f"it needs logprobs to be true, but got {self.top_logprobs} alone"
            raise IngleError("top_logprobs", rule)
        return None


def router(rack: Rack, recall: Recall) -> APIRouter:
    """The routes of this dialect."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatBody, request: Request) -> Response:
        """Answer a conversation."""
        model = await rack.model(body.model)
        with named(NAMES | body.names()):
            messages = with_system(read_messages(body.messages), model.system)
            options = body.options()
            turn = Turn(model, recall, messages, options, exchange.terms(), body.n or 1)
        head = Head(rack.place(body.model).name)
        if body.stream:
            with_usage = bool(body.stream_options and body.stream_options.include_usage)
            told = lively(chunks(turn, head, with_usage, body.include_reasoning is not False))
            return StreamingResponse(told, headers=sse.HEADERS, media_type=sse.MEDIA_TYPE)
        try:
            with named(NAMES):
                logprobs = await unless_gone(request, turn.whole())
        finally:
            turn.cancel()
        if logprobs is None:
            return Response(status_code=GONE)
        return JsonBody(_answer(head, body, turn.completions, logprobs))

    return routes


def _answer(
    head: Head,
    body: ChatBody,
    completions: Sequence[Completion],
    logprobs: Sequence[Sequence[TokenLogprob]],
) -> dict[str, Any]:
    pairs = enumerate(zip(completions, logprobs, strict=True))
    choices = [_choice(i, body, one, tokens) for i, (one, tokens) in pairs]
    return {
        **head.fields("chat.completion"),
        "choices": choices,
        "usage": usage_of(completions),
    }


def _choice(
    index: int, body: ChatBody, one: Completion, tokens: Sequence[TokenLogprob]
) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": one.answer, "refusal": None}
    if one.reasoning and body.include_reasoning is not False:
        message["reasoning_content"] = one.reasoning
    if one.tool_calls:
        message["tool_calls"] = [call.as_dict() for call in one.tool_calls]
        message["content"] = one.answer or None
    shown = shown_tokens(tokens, one.answer, one.stop is not None)
    return {
        "index": index,
        "message": message,
        "logprobs": chat_logprobs(shown) if body.logprobs else None,
        "finish_reason": finish_reason(one),
    }
