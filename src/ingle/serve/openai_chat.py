"""``/v1/chat/completions``: owns OpenAI's Chat API, its bodies and its chunks.

It follows the API reference of OpenAI; fields of other servers that clients send (top_k, min_p,
reasoning_effort in its spellings, chat_template_kwargs) mean what they mean there.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from ingle.chat.message import Message
from ingle.chat.openai_messages import read_messages
from ingle.errors import IngleError
from ingle.llm import AsyncStream, Completion, TokenLogprob
from ingle.llm.reasoning import Part
from ingle.runtime import Terms
from ingle.serve import openai_error, sse
from ingle.serve.rack import Answering, Rack

MAX_CHOICES = 16
_BUFFER_TOKENS = 64

# Fields that `LLM.chat` has under the same names.
_OPTIONS = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "repetition_penalty"),
    *("frequency_penalty", "presence_penalty", "response_format", "tools", "tool_choice"),
    *("reasoning_effort", "chat_template_kwargs"),
)

Number = StrictFloat | StrictInt


class StreamOptions(BaseModel):
    """Of a stream. include_usage: a last chunk tells what was used."""

    include_usage: StrictBool | None = None


class ChatBody(BaseModel):
    """What is asked for. What is not listed here is tolerated."""

    model_config = ConfigDict(extra="allow")

    model: StrictStr = ""
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: StrictInt | None = None
    max_completion_tokens: StrictInt | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    min_p: Number | None = None
    seed: StrictInt | None = None
    stop: StrictStr | list[StrictStr] | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    repetition_penalty: Number | None = None
    logit_bias: dict[str, Number] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = None
    n: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = None
    reasoning_effort: StrictStr | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    user: StrictStr | None = None

    def options(self) -> dict[str, Any]:
        """As `LLM.chat` takes them. Raises IngleError."""
        found = {name: getattr(self, name) for name in _OPTIONS}
        found["max_tokens"] = self.max_completion_tokens or self.max_tokens
        found["logit_bias"] = _biases(self.logit_bias)
        found["logprobs"] = (self.top_logprobs or 0) if self.logprobs else None
        if self.tools == []:
            found["tools"] = None
        return {name: value for name, value in found.items() if value is not None}


@dataclass
class Choices:
    """The answers to one request, and what all of its bodies say."""

    body: ChatBody
    model: str
    messages: Sequence[Message]
    streams: list[AsyncStream]
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, kind: str) -> dict[str, Any]:
        """Fields that every object begins with."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def cancel(self) -> None:
        """Nobody waits for the answers any more."""
        for stream in self.streams:
            stream.cancel()


def router(rack: Rack) -> APIRouter:
    """The routes of this dialect."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatBody, request: Request) -> Response:
        """Answer a conversation."""
        model = await rack.model(body.model)
        choices = begin(model, rack.place(body.model).name, body, _client(request))
        if body.stream:
            chunks = _stream(choices, model)
            return StreamingResponse(chunks, headers=sse.HEADERS, media_type=sse.MEDIA_TYPE)
        return await _whole(choices, model, request)

    return routes


def begin(model: Answering, name: str, body: ChatBody, client: str) -> Choices:
    """The answers, begun. Raises IngleError, BusyError."""
    options = body.options()
    choices = Choices(body, name, read_messages(body.messages), [])
    terms = Terms(client=client, buffer=_BUFFER_TOKENS)
    try:
        for index in range(body.n or 1):
            own = options if not index else options | _next_seed(options, index)
            choices.streams.append(model.awaited_reply(choices.messages, own, terms))
    except IngleError:
        choices.cancel()
        raise
    return choices


async def _whole(choices: Choices, model: Answering, request: Request) -> Response:
    """All answers at once; nothing, if the client goes away before."""
    answers = asyncio.gather(*(stream.whole() for stream in choices.streams))
    gone = asyncio.create_task(_gone(request))
    try:
        waited: set[asyncio.Future[Any]] = {answers, gone}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            return Response(status_code=499)
        completions = answers.result()
    finally:
        gone.cancel()
        choices.cancel()
        if not answers.done():
            answers.cancel()
    _warm(model, choices, completions)
    body = choices.head("chat.completion") | {
        "choices": [_choice(i, one) for i, one in enumerate(completions)],
        "usage": _usage(completions),
    }
    return JSONResponse(body)


async def _stream(choices: Choices, model: Answering) -> AsyncIterator[bytes]:
    """Chunks of all answers, as they come; an error ends the stream as an event."""
    many, kind = len(choices.streams) > 1, "chat.completion.chunk"
    include_usage = choices.body.stream_options and choices.body.stream_options.include_usage
    usage: dict[str, Any] = {"usage": None} if include_usage else {}

    def chunk(index: int, delta: dict[str, Any], **more: Any) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None} | more
        return sse.event(choices.head(kind) | {"choices": [choice]} | usage)

    try:
        for index in range(len(choices.streams)):
            yield chunk(index, {"role": "assistant", "content": ""})
        parts = _merged(choices.streams) if many else _indexed(choices.streams[0])
        async for index, part in parts:
            name = "reasoning_content" if part.is_reasoning else "content"
            yield chunk(index, {name: part.text})
        completions = [stream.completion for stream in choices.streams]
        for index, one in enumerate(completions):
            if one.tool_calls:
                calls = [{"index": i} | call for i, call in enumerate(_calls(one))]
                yield chunk(index, {"tool_calls": calls})
            yield chunk(index, {}, finish_reason=_reason(one), logprobs=_logprobs(one))
        if include_usage:
            yield sse.event(choices.head(kind) | {"choices": [], "usage": _usage(completions)})
        yield sse.DONE
        _warm(model, choices, completions)
    except Exception as error:
        _, body = openai_error.told(error)
        yield sse.event(body)
    finally:
        choices.cancel()


async def _indexed(stream: AsyncStream) -> AsyncIterator[tuple[int, Part]]:
    async for part in stream.parts():
        yield 0, part


async def _merged(streams: Sequence[AsyncStream]) -> AsyncIterator[tuple[int, Part]]:
    """Parts of several answers in the order in which they come."""
    parts: asyncio.Queue[tuple[int, Part | BaseException | None]] = asyncio.Queue(len(streams))

    async def read(index: int, stream: AsyncStream) -> None:
        try:
            async for part in stream.parts():
                await parts.put((index, part))
            await parts.put((index, None))
        except Exception as error:
            await parts.put((index, error))

    readers = [asyncio.create_task(read(i, stream)) for i, stream in enumerate(streams)]
    running = len(readers)
    try:
        while running:
            index, part = await parts.get()
            if part is None:
                running -= 1
            elif isinstance(part, BaseException):
                raise part
            else:
                yield index, part
    finally:
        for reader in readers:
            reader.cancel()


async def _gone(request: Request) -> None:
    """Returns when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _warm(model: Answering, choices: Choices, completions: Sequence[Completion]) -> None:
    """Has the history computed as the next turn will begin, while nobody asks for anything."""
    history = [*choices.messages, *completions[0].messages]
    model.warm_history(history, choices.body.options())


def _choice(index: int, one: Completion) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": one.answer, "refusal": None}
    if one.reasoning:
        message["reasoning_content"] = one.reasoning
    if one.tool_calls:
        message["tool_calls"] = _calls(one)
        message["content"] = one.answer or None
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(one),
        "finish_reason": _reason(one),
    }


def _calls(one: Completion) -> list[dict[str, Any]]:
    return [{"id": f"call_{secrets.token_hex(8)}"} | call.as_dict() for call in one.tool_calls]


def _reason(one: Completion) -> str:
    return "stop" if one.finish_reason == "cancelled" else one.finish_reason


def _usage(completions: Sequence[Completion]) -> dict[str, Any]:
    """The prompt counts once, whatever the number of answers."""
    first = completions[0].usage
    completion = sum(one.usage.completion_tokens for one in completions)
    return {
        "prompt_tokens": first.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": first.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": first.cached_tokens},
    }


def _logprobs(one: Completion) -> dict[str, Any] | None:
    if one.logprobs is None:
        return None
    return {
        "content": [
            _entry(found) | {"top_logprobs": [_entry(other) for other in found.top]}
            for found in one.logprobs
        ],
        "refusal": None,
    }


def _entry(found: TokenLogprob) -> dict[str, Any]:
    text = found.text.encode()
    return {"token": found.text, "logprob": max(found.logprob, -9999.0), "bytes": list(text)}


def _biases(given: Mapping[str, float] | None) -> dict[int, float] | None:
    if given is None:
        return None
    try:
        return {int(token): bias for token, bias in given.items()}
    except ValueError:
        rule = f"logit_bias must be by token id, but got {next(iter(given))!r:.60}"
        raise IngleError("logit_bias", rule) from None


def _next_seed(options: Mapping[str, Any], index: int) -> dict[str, int]:
    """Answers to one request differ, though a seed was given."""
    return {"seed": (options["seed"] + index) % (1 << 64)} if "seed" in options else {}


def _client(request: Request) -> str:
    """Who takes turns with others: a key's holder, else an address."""
    key = request.headers.get("authorization", "")
    return key or (request.client.host if request.client else "")
