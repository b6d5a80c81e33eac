"""``/v1/messages`` and ``/v1/messages/count_tokens``: owns the routes of Anthropic's API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from ingle.chat.message import Message
from ingle.errors import UnsupportedError
from ingle.serve import exchange, sse
from ingle.serve.anthropic import error
from ingle.serve.anthropic.blocks import read
from ingle.serve.anthropic.reply import Reply, ping
from ingle.serve.anthropic.wishes import NAMES, CountBody, MessagesBody, without_reasoning
from ingle.serve.heartbeat import lively
from ingle.serve.json_body import JsonBody
from ingle.serve.rack import Answering, Rack
from ingle.serve.recall import Recall
from ingle.serve.refusal import named, refusal_of
from ingle.serve.single import OneReply, whole
from ingle.serve.turn import Turn

PING_S = 10.0  # of silence, before a client is told that all is well


def router(rack: Rack, recall: Recall) -> APIRouter:
    """The routes of this dialect."""
    routes = APIRouter(tags=["Anthropic"])

    @routes.post("/v1/messages", response_model=None)
    async def messages(body: MessagesBody, request: Request) -> Response:
        """Answer a conversation."""
        said, wishes = read(body.messages, body.system), body.wishes()
        model = await rack.model(body.model)
        with named(NAMES):
            turn = _begin(model, recall, said, wishes, body)
        reply = Reply(
            rack.place(body.model).name,
            len(turn.streams[0].request.prompt_ids),
            body.shows_thinking,
            body.omits_thinking,
        )
        single = OneReply(turn)
        if body.stream:
            events = lively(_events(reply, single), ping, PING_S)
            return StreamingResponse(events, headers=sse.HEADERS, media_type=sse.MEDIA_TYPE)
        with named(NAMES):
            done = await whole(single, request, reply.note)
        return Response(status_code=499) if done is None else JsonBody(reply.whole(done))

    @routes.post("/v1/messages/count_tokens")
    async def count_tokens(body: CountBody) -> dict[str, int]:
        """Count the tokens of a conversation's prompt, without answering it."""
        said, wishes = recall.restored(read(body.messages, body.system)), body.prompt_wishes()
        model = await rack.model(body.model)
        with named(NAMES):
            return {"input_tokens": _count(model, said, wishes, body)}

    return routes


def _begin(
    model: Answering,
    recall: Recall,
    said: tuple[Message, ...],
    wishes: dict[str, Any],
    body: MessagesBody,
) -> Turn:
    """The reply, begun; of a model that cannot reason without, unless reasoning is insisted on."""
    try:
        return Turn(model, recall, said, wishes, exchange.terms())
    except UnsupportedError as met:
        if not (body.may_go_without and met.where == "reasoning"):
            raise
        return Turn(model, recall, said, without_reasoning(wishes), exchange.terms())


def _count(
    model: Answering, said: tuple[Message, ...], wishes: dict[str, Any], body: CountBody
) -> int:
    """Tokens of the prompt that `_begin` would answer."""
    try:
        return model.count_prompt(said, wishes)
    except UnsupportedError as met:
        if not (body.may_go_without and met.where == "reasoning"):
            raise
        return model.count_prompt(said, without_reasoning(wishes))


async def _events(reply: Reply, single: OneReply) -> AsyncIterator[bytes]:
    try:
        for event in reply.start():
            yield event
        async for piece in single.pieces():
            for event in reply.told(piece):
                yield event
        for event in reply.end(single.completion):
            yield event
    except Exception as met:
        yield sse.event(error.body_of(refusal_of(met)), "error")
    finally:
        single.cancel()
