"""``/api/generate``: owns Ollama's single prompts, told through the chat format or raw.

`context`, by which a client goes on where an answer ended, is the conversation so far as JSON in
token ids: opaque to clients, and rendered anew by the chat format, so that nothing in it can pose
as a special token.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import StrictBool, StrictInt, StrictStr

from ingle.chat.message import Message
from ingle.chat.openai_messages import read_messages
from ingle.errors import IngleError, UnsupportedError
from ingle.hub.modelfile import checked_template
from ingle.llm import AsyncStream, Completion
from ingle.serve import exchange
from ingle.serve.ollama import answer
from ingle.serve.ollama.loading import let_go, loaded
from ingle.serve.ollama.messages import check_no_images
from ingle.serve.ollama.options import NAMES, AskBody, without_reasoning
from ingle.serve.ollama.reply import Reply
from ingle.serve.rack import Answering, Rack
from ingle.serve.recall import Recall
from ingle.serve.refusal import named
from ingle.serve.single import OneReply
from ingle.serve.turn import Turn, with_system

_MAX_CONTEXT_IDS = 1 << 20


class GenerateBody(AskBody):
    """What is asked for. What is not listed here is tolerated."""

    prompt: StrictStr | None = None
    suffix: StrictStr | None = None
    system: StrictStr | None = None
    template: StrictStr | None = None
    context: list[StrictInt] | None = None
    raw: StrictBool | None = None
    images: list[Any] | None = None

    def check(self) -> None:
        """Raise IngleError for what cannot be had, or not together."""
        check_no_images("images", self.images)
        if self.suffix:
            rule = f"no model here fills in the middle, but got {self.suffix[:60]!r}"
            raise UnsupportedError("suffix", rule, "leave it out")
        beside = [n for n in ("system", "template", "context") if getattr(self, n)]
        if self.raw and beside:
            rule = f"a raw prompt is all there is, but got {beside[0]} too"
            raise IngleError("raw", rule, "leave one of them out")


def router(rack: Rack, recall: Recall) -> APIRouter:
    """The route of single prompts."""
    routes = APIRouter(tags=["Ollama"])

    @routes.post("/api/generate", response_model=None)
    async def generate(body: GenerateBody, request: Request) -> Response:
        """Answer a prompt. Without one: load the model, or with keep_alive 0 free it."""
        body.check()
        wishes = body.wishes()
        reply = Reply(rack.place(body.model).name, _wrap, body.shows_reasoning)
        if not body.prompt and body.keep_s() == 0:
            await let_go(rack, body.model)
            return answer.alone(reply, "unload", body.streams)
        model = await loaded(rack, body, reply)
        if not body.prompt:
            return answer.alone(reply, "load", body.streams)
        if body.raw:
            with named(NAMES):
                raw = _raw(model, body.prompt, without_reasoning(wishes))
            return await answer.respond(reply, raw, body.streams, request)
        turns = _turns(model, body)
        if body.template:
            wishes["chat_template"] = checked_template(body.template, "template")
        with named(NAMES):
            single = OneReply(Turn(model, recall, turns, wishes, exchange.terms()))

        def ended(done: Completion) -> dict[str, Any]:
            return {"context": _context([*turns, Message("assistant", done.answer)], model)}

        return await answer.respond(reply, single, body.streams, request, ended)

    return routes


def _raw(model: Answering, prompt: str, wishes: dict[str, Any]) -> AsyncStream:
    """A prompt as it is, in which the marks of a chat format are these marks."""
    ids = model.encode(prompt, with_specials=True, begin=True)
    return model.awaited_continuation(ids, wishes, exchange.terms())


def _turns(model: Answering, body: GenerateBody) -> tuple[Message, ...]:
    """What was said before, and the prompt. A system text of the request comes first."""
    before = _history(model, body.context) if body.context else ()
    prompt = Message("user", body.prompt or "")
    if body.system:
        before = tuple(one for one in before if one.role != "system")
        return Message("system", body.system), *before, prompt
    return with_system((*before, prompt), model.system)


def _context(turns: list[Message], model: Answering) -> list[int]:
    return model.encode(json.dumps([turn.as_dict() for turn in turns]))


def _history(model: Answering, ids: list[int]) -> tuple[Message, ...]:
    """The conversation that an earlier answer gave as its context. Raises IngleError."""
    try:
        if len(ids) > _MAX_CONTEXT_IDS:
            raise ValueError
        return read_messages(json.loads(model.decode(ids)))
    except (ValueError, OverflowError, RecursionError):
        rule = f"it must be what an answer of this model gave, but got {len(ids)} other ids"
        raise IngleError("context", rule, "use /api/chat, which takes messages") from None


def _wrap(text: str, thinking: str, _: list[dict[str, Any]]) -> dict[str, Any]:
    return {"response": text, **({"thinking": thinking} if thinking else {})}
