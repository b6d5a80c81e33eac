"""Owns the way from a stream to one client: its lines as they come, or one object at the end.

A client that goes away ends its answer. It does not know what was asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from ingle.llm import Completion
from ingle.serve import ndjson
from ingle.serve.json_body import JsonBody
from ingle.serve.ollama import error
from ingle.serve.ollama.reply import Reply
from ingle.serve.refusal import refusal_of
from ingle.serve.single import Single, whole

Ended = Callable[[Completion], dict[str, Any]]
"""Told of the finished answer; further fields of the last object."""


async def respond(
    reply: Reply,
    single: Single,
    streams: bool,
    request: Request,
    ended: Ended = lambda _: {},
) -> Response:
    """The HTTP response."""
    if streams:
        lines = _lines(reply, single, ended)
        return StreamingResponse(lines, headers=ndjson.HEADERS, media_type=ndjson.MEDIA_TYPE)
    done = await whole(single, request, reply.note)
    if done is None:
        return Response(status_code=499)
    return JsonBody(reply.whole(done) | ended(done))


def alone(reply: Reply, reason: str, streams: bool) -> Response:
    """The response to a request without anything to answer."""
    body = reply.unanswered(reason)
    return Response(ndjson.line(body), media_type=ndjson.MEDIA_TYPE) if streams else JsonBody(body)


async def _lines(reply: Reply, single: Single, ended: Ended) -> AsyncIterator[bytes]:
    try:
        async for piece in single.pieces():
            for told in reply.told(piece):
                yield ndjson.line(told)
        done = single.completion
        for told in reply.rest(done.cut_call):
            yield ndjson.line(told)
        yield ndjson.line(reply.last(done) | ended(done))
    except Exception as met:
        yield ndjson.line(error.body_of(refusal_of(met)))
    finally:
        single.cancel()
