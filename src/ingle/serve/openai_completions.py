"""``/v1/completions``: owns OpenAI's Completions API: text or ids continued, no template applied.

With `echo` and `logprobs` it scores given text, as evaluation harnesses ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field, StrictBool, StrictInt, StrictStr

from ingle.errors import IngleError, UnsupportedError
from ingle.llm import AsyncStream, Completion, TokenLogprob
from ingle.llm.reasoning import Part
from ingle.runtime import Terms
from ingle.serve import exchange, openai_error, sse
from ingle.serve.connection import unless_gone
from ingle.serve.heartbeat import lively
from ingle.serve.json_body import JsonBody
from ingle.serve.openai_chat import GONE, MAX_CHOICES
from ingle.serve.openai_chunks import Head
from ingle.serve.openai_fields import SamplingFields, StreamOptions, named
from ingle.serve.openai_logprobs import LogprobQueue, shown_tokens
from ingle.serve.openai_scores import Scores
from ingle.serve.openai_usage import finish_reason, usage_of_all
from ingle.serve.rack import Answering, Rack
from ingle.serve.turn import merged, next_seed

MAX_PROMPTS = 1024
_AT_ONCE = 32  # answers of one request that wait or run
_USUAL_TOKENS = 16  # of an answer, as OpenAI's reference has it
_NAMES = {"format": "response_format", "prompt_logprobs": "logprobs"}

T = TypeVar("T")


class CompletionBody(SamplingFields):
    """What is asked for. What is not listed here is tolerated."""

    refused: ClassVar[tuple[str, ...]] = (
        *("guided_grammar", "guided_json", "guided_regex", "guided_choice", "grammar"),
        *("structured_outputs", "json_schema", "prompt_embeds"),
    )

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
        self.check_refused()
        most = _USUAL_TOKENS if self.max_tokens is None else self.max_tokens
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
        """Raise IngleError for fields that cannot be meant together."""
        count = self.n or 1
        if self.suffix:
            rule = f"text is continued at its end alone, but got {self.suffix!r:.40}"
            raise UnsupportedError("suffix", rule, "leave it out")
        if self.best_of is not None and self.best_of < count:
            raise IngleError("best_of", f"it must be at least n = {count}, but got {self.best_of}")
        if self.stream and self._chooses:
            rule = f"the best are known at the end, but got a stream and {self.best_of} of {count}"
            raise IngleError("best_of", rule, "leave stream or best_of out")


@dataclass(frozen=True)
class Prompt:
    """ids: as the model gets them; text: as the client wrote it; num_begun: ids before that.

    first: the text of the first id of all.
    """

    ids: list[int]
    text: str
    num_begun: int
    first: str


def router(rack: Rack) -> APIRouter:
    """The routes of this dialect."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.post("/v1/completions", response_model=None)
    async def completions(body: CompletionBody, request: Request) -> Response:
        """Continue text."""
        with named(_NAMES):
            body.check()
            options = body.options()
            model = await rack.model(body.model)
            prompts = prompts_of(body.prompt, model)
            head, terms = Head(rack.place(body.model).name, "cmpl-"), exchange.terms()
            if body.stream:
                streams = _begun(model, prompts, options, terms, body.n or 1)
                told = lively(_stream(body, head, prompts, streams))
                return StreamingResponse(told, headers=sse.HEADERS, media_type=sse.MEDIA_TYPE)
            count = body.best_of or body.n or 1
            work = _whole(model, prompts, options, terms, count)
            answers = await unless_gone(request, work)
        if answers is None:
            return Response(status_code=GONE)
        return JsonBody(_answer(body, head, prompts, answers))

    return routes


def prompts_of(prompt: Any, model: Answering) -> list[Prompt]:
    """Text, ids, or a list of either. Raises IngleError."""
    listed = prompt if isinstance(prompt, list) else [prompt]
    if listed and all(type(one) is int for one in listed):
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
        found = Prompt([*before, *ids], said, len(before), model.decode(ids[:1]))
    elif isinstance(said, list) and all(type(one) is int for one in said):
        found = Prompt(said, model.decode(said), 0, model.decode(said[:1]))
    else:
        rule = f"it must be text, token ids, or a list of these, but got {said!r:.60}"
        raise IngleError("prompt", rule)
    if not 1 <= len(found.ids) <= model.context_tokens:
        rule = f"prompt must have 1 to {model.context_tokens} tokens, but got {len(found.ids)}"
        raise IngleError("prompt", rule, "shorten the prompt")
    return found


def _begun(
    model: Answering, prompts: Sequence[Prompt], options: dict[str, Any], terms: Terms, count: int
) -> list[AsyncStream]:
    """For each prompt `count` streams. Raises IngleError, BusyError."""
    if len(prompts) * count > _AT_ONCE:
        rule = f"at most {_AT_ONCE} answers can be streamed, but got {len(prompts) * count}"
        raise IngleError("prompt", rule)
    streams: list[AsyncStream] = []
    try:
        for prompt in prompts:
            for index in range(count):
                own = {**options, **(next_seed(options, index) if index else {})}
                streams.append(model.awaited_continuation(prompt.ids, own, terms))
    except IngleError:
        for stream in streams:
            stream.cancel()
        raise
    return streams


async def _whole(
    model: Answering, prompts: Sequence[Prompt], options: dict[str, Any], terms: Terms, count: int
) -> list[list[Completion]]:
    """For each prompt `count` answers."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def answer(prompt: Prompt, index: int) -> Completion:
        async with gate:
            own = {**options, **(next_seed(options, index) if index else {})}
            return await model.awaited_continuation(prompt.ids, own, terms).whole()

    asked = [answer(prompt, index) for prompt in prompts for index in range(count)]
    found = await _all(asked)
    return [found[i : i + count] for i in range(0, len(found), count)]


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What all come to; if one fails, or this is cancelled, the others are."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _answer(
    body: CompletionBody,
    head: Head,
    prompts: Sequence[Prompt],
    answers: Sequence[Sequence[Completion]],
) -> dict[str, Any]:
    choices: list[dict[str, Any]] = []
    for prompt, made in zip(prompts, answers, strict=True):
        best = sorted(made, key=_likelihood, reverse=True) if body.best_of else made
        for one in best[: body.n or 1]:
            choices.append(_choice(len(choices), body, prompt, one))
    usage = usage_of_all(answers)
    return {**head.fields("text_completion"), "choices": choices, "usage": usage}


def _likelihood(one: Completion) -> float:
    """Log-probability per token."""
    found = [token.logprob for token in one.logprobs or ()]
    return sum(found) / len(found) if found else 0.0


def _choice(index: int, body: CompletionBody, prompt: Prompt, one: Completion) -> dict[str, Any]:
    told = None
    if body.logprobs is not None:
        scores = Scores()
        if body.echo:
            _echo(scores, prompt, one.prompt_logprobs or ())
        scores.add(shown_tokens(one.logprobs or (), one.text, one.stop is not None))
        scores.add([] if one.stop_logprob is None else [one.stop_logprob])
        told = scores.taken()
    return {
        "text": (prompt.text if body.echo else "") + one.text,
        "index": index,
        "logprobs": told,
        "finish_reason": finish_reason(one),
    }


def _echo(scores: Scores, prompt: Prompt, found: Sequence[TokenLogprob]) -> None:
    """The prompt's tokens; the model's beginning token is none of the client's."""
    if not prompt.num_begun:
        scores.first(prompt.first)
    scores.add(found)


async def _stream(
    body: CompletionBody, head: Head, prompts: Sequence[Prompt], streams: Sequence[AsyncStream]
) -> AsyncIterator[bytes]:
    """Events of a stream; an error is the last one."""
    writer = _Writer(body, head, prompts, streams)
    try:
        async for index, piece in merged(streams):
            if isinstance(piece, TokenLogprob):
                writer.queues[index].put(piece)
            elif isinstance(piece, Part):
                yield writer.text(index, piece.text)
        for index in range(len(streams)):
            yield writer.end(index)
        if writer.with_usage:
            yield writer.usage()
        yield sse.DONE
    except Exception as error:
        _, told = openai_error.told(error)
        yield sse.event(told)
    finally:
        for stream in streams:
            stream.cancel()


class _Writer:
    """Chunks; the first of each choice echoes its prompt, once its scores are there."""

    def __init__(
        self,
        body: CompletionBody,
        head: Head,
        prompts: Sequence[Prompt],
        streams: Sequence[AsyncStream],
    ) -> None:
        self.with_usage = bool(body.stream_options and body.stream_options.include_usage)
        self.queues = [LogprobQueue() for _ in streams]
        self._scores = [Scores() for _ in streams]
        self._body, self._prompts, self._streams = body, prompts, streams
        self._head = head.fields("text_completion")
        self._echoes = set(range(len(streams))) if body.echo else set()

    def text(self, index: int, text: str) -> bytes:
        echoed = self._echoed(index)
        self._scores[index].add(self.queues[index].shown(text))
        return self._chunk(index, echoed + text, None)

    def end(self, index: int) -> bytes:
        echoed, one = self._echoed(index), self._streams[index].completion
        self._scores[index].add(self.queues[index].rest(one.stop is not None))
        self._scores[index].add([] if one.stop_logprob is None else [one.stop_logprob])
        return self._chunk(index, echoed, finish_reason(one))

    def usage(self) -> bytes:
        made, count = [stream.completion for stream in self._streams], self._body.n or 1
        usage = usage_of_all([made[i : i + count] for i in range(0, len(made), count)])
        return sse.event(self._head | {"choices": [], "usage": usage})

    def _echoed(self, index: int) -> str:
        """The prompt, the first time."""
        if index not in self._echoes:
            return ""
        self._echoes.discard(index)
        prompt = self._prompts[index // (self._body.n or 1)]
        _echo(self._scores[index], prompt, self._streams[index].prompt_logprobs)
        return prompt.text

    def _chunk(self, index: int, text: str, reason: str | None) -> bytes:
        told = None if self._body.logprobs is None else self._scores[index].taken()
        choice = {"text": text, "index": index, "logprobs": told, "finish_reason": reason}
        usage: dict[str, Any] = {"usage": None} if self.with_usage else {}
        return sse.event(self._head | {"choices": [choice]} | usage)
