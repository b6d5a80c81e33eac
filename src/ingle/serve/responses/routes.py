"""Owns the routes of the Responses API."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from ingle.chat.message import Message
from ingle.errors import IngleError, UnsupportedError
from ingle.llm import Completion
from ingle.serve import exchange, sse
from ingle.serve.connection import unless_gone
from ingle.serve.heartbeat import lively
from ingle.serve.json_body import JsonBody
from ingle.serve.openai import error as openai_error
from ingle.serve.openai.chat import GONE
from ingle.serve.rack import Answering, Rack
from ingle.serve.recall import Recall
from ingle.serve.refusal import named
from ingle.serve.responses.body import NAMES, ResponseBody
from ingle.serve.responses.items import input_items, new_id, read_items
from ingle.serve.responses.output import Event, Output
from ingle.serve.responses.store import Kept, ResponseStore, StoreError
from ingle.serve.responses.tools import Declared
from ingle.serve.turn import Turn, with_system

_log = logging.getLogger(__name__)


def router(rack: Rack, recall: Recall, store: ResponseStore) -> APIRouter:
    """The routes of this dialect."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.post("/v1/responses", response_model=None)
    async def create(body: ResponseBody, request: Request) -> Response:
        """Answer a conversation, whose past may be kept here."""
        model = await rack.model(body.model)
        with named(NAMES | body.names()):
            asked = await _asked(body, store, model.system)
            turn = Turn(model, recall, asked.messages, asked.options, exchange.terms())
        answer = Answer(body, rack.place(body.model).name, asked, turn, store)
        if body.stream:
            told = lively(answer.events(), answer.beat)
            return StreamingResponse(told, headers=sse.HEADERS, media_type=sse.MEDIA_TYPE)
        try:
            with named(NAMES):
                whole = await unless_gone(request, answer.whole())
        finally:
            turn.cancel()
        return Response(status_code=GONE) if whole is None else JsonBody(whole)

    @routes.post("/v1/responses/input_tokens", response_model=None)
    async def input_tokens(body: ResponseBody) -> Response:
        """Count what a request would have as its prompt."""
        model: Answering = await rack.model(body.model)
        with named(NAMES | body.names()):
            asked = await _asked(body, store, model.system)
            messages = recall.restored(asked.messages)
            count = model.count_prompt(messages, asked.options)
        return JsonBody({"object": "response.input_tokens", "input_tokens": count})

    _add_kept(routes, store)
    return routes


def _add_kept(routes: APIRouter, store: ResponseStore) -> None:
    """The routes of responses that are kept."""

    @routes.get("/v1/responses/{response_id}", response_model=None)
    async def retrieve(response_id: str, stream: bool = False) -> Response:
        """A response that was kept. stream: is not here."""
        if stream:
            rule = "a response that is kept is told at once, but got a wish for its events"
            raise UnsupportedError("stream", rule, "leave it out")
        found = await asyncio.to_thread(store.get, response_id)
        return _missing(response_id) if found is None else JsonBody(found.body)

    @routes.delete("/v1/responses/{response_id}", response_model=None)
    async def delete(response_id: str) -> Response:
        """Forget a response."""
        if not await asyncio.to_thread(store.delete, response_id):
            return _missing(response_id)
        return JsonBody({"id": response_id, "object": "response", "deleted": True})

    @routes.get("/v1/responses/{response_id}/input_items", response_model=None)
    async def list_input(
        response_id: str,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> Response:
        """The items that a response was made of."""
        found = await asyncio.to_thread(store.get, response_id)
        if found is None:
            return _missing(response_id)
        return JsonBody(_page(found.input, limit, order, after))


@dataclass(frozen=True)
class Asked:
    """A request read: all messages, the instructions among them, and the options of the chat."""

    items: list[dict[str, Any]]
    history: tuple[Message, ...]  # without the instructions, which are of one response alone
    messages: tuple[Message, ...]
    options: dict[str, Any]
    tools: Declared


async def _asked(body: ResponseBody, store: ResponseStore, system: str | None) -> Asked:
    """system: what the model's name brings, where nobody else instructs. Raises IngleError."""
    tools = body.declared()
    options, items = body.options(tools), input_items(body.input)
    past: tuple[Message, ...] = ()
    if body.previous_response_id is not None:
        kept = await asyncio.to_thread(store.get, body.previous_response_id)
        if kept is None:
            rule = f"it must be a response that is kept, but got {body.previous_response_id!r:.80}"
            raise IngleError("previous_response_id", rule, "send the whole conversation as input")
        past = kept.history
    history = (*past, *read_items(items))
    if not history:
        raise IngleError("input", f"it must be text or items, but got {body.input!r:.80}")
    instructions = [Message("system", body.instructions)] if body.instructions else []
    messages = with_system((*instructions, *history), system)
    return Asked(items, history, messages, options, tools)


class Answer:
    """One response from its begin to its end."""

    def __init__(
        self, body: ResponseBody, model: str, asked: Asked, turn: Turn, store: ResponseStore
    ) -> None:
        self._body, self._asked, self._turn, self._store = body, asked, turn, store
        self._output = Output(asked.tools, body.summarizes, body.encodes_reasoning)
        self._num_events = 0
        self._told: dict[str, Any] = {
            "id": new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            "usage": None,
            **body.told(),
        }

    async def whole(self) -> dict[str, Any]:
        """The response, finished and kept."""
        async for _ in self._pieces():
            pass
        await self._keep()
        return self._told

    async def events(self) -> AsyncIterator[bytes]:
        """The events of the response; an error is the last one."""
        try:
            for name in ("created", "in_progress"):
                yield self._written({"type": f"response.{name}", "response": self._told})
            async for event in self._pieces():
                yield self._written(event)
            await self._keep()
            name = f"response.{self._told['status']}"
            yield self._written({"type": name, "response": self._told})
        except Exception as error:
            yield self._written(self._failed(error))
        finally:
            self._turn.cancel()

    def beat(self) -> bytes:
        """An event while there is none: that it goes on."""
        return self._written({"type": "response.in_progress", "response": self._told})

    def _written(self, event: Event) -> bytes:
        told = {**event, "sequence_number": self._num_events}
        self._num_events += 1
        return sse.event(told, name=event["type"])

    async def _pieces(self) -> AsyncIterator[Event]:
        async for _, piece in self._turn.pieces():
            for event in self._output.piece(piece):
                yield event
        for event in self._end(self._turn.completions[0]):
            yield event

    def _end(self, one: Completion) -> Iterator[Event]:
        complete = one.finish_reason not in ("length", "cancelled")
        yield from self._output.end(complete, one.stop is not None)
        usage = one.usage
        self._told |= {
            "status": "completed" if complete else "incomplete",
            "incomplete_details": None if complete else {"reason": "max_output_tokens"},
            "output": self._output.items,
            "completed_at": int(time.time()) if complete else None,
            "usage": {
                "input_tokens": usage.prompt_tokens,
                "input_tokens_details": {"cached_tokens": usage.cached_tokens},
                "output_tokens": usage.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
                "total_tokens": usage.total_tokens,
            },
        }

    async def _keep(self) -> None:
        """In the store, if it is to be; one that cannot be kept says so, and is answered."""
        if not self._told["store"]:
            return
        history = (*self._asked.history, *self._turn.completions[0].messages)
        kept = Kept(self._told, self._asked.items, history)
        try:
            await asyncio.to_thread(self._store.put, kept)
        except StoreError as error:
            _log.warning("%s", error)
            self._told["store"] = False

    def _failed(self, error: Exception) -> Event:
        _, told = openai_error.told(error)
        said = told["error"]
        fault = {"code": said["code"] or "server_error", "message": said["message"]}
        self._told |= {"status": "failed", "error": fault, "output": self._output.items}
        return {"type": "response.failed", "response": self._told}


def _page(items: list[dict[str, Any]], limit: int, order: str, after: str | None) -> dict[str, Any]:
    listed = items if order == "asc" else items[::-1]
    if after is not None:
        places = [i for i, item in enumerate(listed) if item.get("id") == after]
        if not places:
            raise IngleError("after", f"it must be the id of an item, but got {after!r:.80}")
        listed = listed[places[0] + 1 :]
    page = listed[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(listed) > limit,
    }


def _missing(response_id: str) -> Response:
    said = f"[response] it must be one that is kept, but got {response_id[:80]!r}."
    body = openai_error.error_object(said, "invalid_request_error", "id", "not_found")
    return JsonBody(body, 404)
