"""``/v1/completions``: owns OpenAI's Completions API: text or ids continued, no template applied.

With `echo` and `logprobs` it scores given text, as evaluation harnesses ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from ingle.errors import IngleError
from ingle.llm import AsyncStream, Completion
from ingle.runtime import Terms
from ingle.serve import exchange, sse
from ingle.serve.connection import unless_gone
from ingle.serve.heartbeat import lively
from ingle.serve.json_body import JsonBody
from ingle.serve.openai.chat import GONE
from ingle.serve.openai.chunks import Head
from ingle.serve.openai.completion_body import CompletionBody
from ingle.serve.openai.completion_chunks import chunks, echo
from ingle.serve.openai.logprobs import shown_tokens
from ingle.serve.openai.prompts import Prompt, prompts_of
from ingle.serve.openai.scores import Scores
from ingle.serve.openai.usage import finish_reason, usage_of_all
from ingle.serve.rack import Answering, Rack
from ingle.serve.refusal import named
from ingle.serve.turn import next_seed

_AT_ONCE = 32  # answers of one request that wait or run
_NAMES = {"format": "response_format", "prompt_logprobs": "logprobs", "token id": "prompt"}

T = TypeVar("T")


def router(rack: Rack) -> APIRouter:
    """The routes of this dialect."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.post("/v1/completions", response_model=None)
    async def completions(body: CompletionBody, request: Request) -> Response:
        """Continue text."""
        body.check()
        with named(_NAMES | body.names()):
            options = body.options()
            model = await rack.model(body.model)
            prompts = prompts_of(body.prompt, model)
            head, terms = Head(rack.place(body.model).name, "cmpl-"), exchange.terms()
            if body.stream:
                streams = _begun(model, prompts, options, terms, body.n or 1)
                told = lively(chunks(body, head, prompts, streams))
                return StreamingResponse(told, headers=sse.HEADERS, media_type=sse.MEDIA_TYPE)
            count = body.best_of or body.n or 1
            work = _whole(model, prompts, options, terms, count)
            answers = await unless_gone(request, work)
        if answers is None:
            return Response(status_code=GONE)
        return JsonBody(_answer(body, head, prompts, answers))

    return routes


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
            echo(scores, prompt, one.prompt_logprobs or ())
        scores.add(shown_tokens(one.logprobs or (), one.text, one.stop is not None))
        scores.add([] if one.stop_logprob is None else [one.stop_logprob])
        told = scores.taken()
    return {
        "text": (prompt.text if body.echo else "") + one.text,
        "index": index,
        "logprobs": told,
        "finish_reason": finish_reason(one),
    }
