"""``/api/chat``: owns Ollama's chats."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from ingle.serve import exchange
from ingle.serve.ollama import answer
from ingle.serve.ollama.loading import let_go, loaded
from ingle.serve.ollama.messages import OllamaMessage, read
from ingle.serve.ollama.options import NAMES, AskBody
from ingle.serve.ollama.reply import Reply
from ingle.serve.rack import Rack
from ingle.serve.recall import Recall
from ingle.serve.refusal import named
from ingle.serve.single import OneReply
from ingle.serve.turn import Turn, with_system


class ChatBody(AskBody):
    """What is asked for. What is not listed here is tolerated."""

    messages: list[OllamaMessage] = Field(default_factory=list)
    tools: list[dict[str, Any]] | None = None

    def chat_wishes(self) -> dict[str, Any]:
        """As `LLM.chat` takes them. Raises IngleError."""
        return self.wishes() | ({"tools": self.tools} if self.tools else {})


def router(rack: Rack, recall: Recall) -> APIRouter:
    """The route of chats."""
    routes = APIRouter(tags=["Ollama"])

    @routes.post("/api/chat", response_model=None)
    async def chat(body: ChatBody, request: Request) -> Response:
        """Answer a conversation. Without messages: load the model, or with keep_alive 0 free it."""
        said, wishes = read(body.messages) if body.messages else (), body.chat_wishes()
        reply = Reply(rack.place(body.model).name, _wrap, body.shows_reasoning)
        if not said and body.keep_s() == 0:
            await let_go(rack, body.model)
            return answer.alone(reply, "unload", body.streams)
        model = await loaded(rack, body, reply)
        if not said:
            return answer.alone(reply, "load", body.streams)
        turns = with_system(said, model.system)
        with named(NAMES):
            turn = Turn(model, recall, turns, wishes, exchange.terms())
        return await answer.respond(reply, OneReply(turn), body.streams, request)

    return routes


def _wrap(text: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = calls
    return {"message": message}
