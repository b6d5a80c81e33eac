"""``/tokenize``, ``/detokenize``: owns text as ids and back, as llama.cpp and vLLM serve them.

llama.cpp sends ``content``, vLLM ``prompt`` or ``messages``; each gets its own fields back.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from ingle.chat.openai_messages import read_messages
from ingle.errors import IngleError
from ingle.serve.rack import Answering, Rack

MAX_IDS = 1 << 20


class TokenizeBody(BaseModel):
    """content (llama.cpp) or prompt (vLLM): text. messages (vLLM): a chat, whose prompt is counted.

    add_special: after the model's beginning token (llama.cpp: false; vLLM: add_special_tokens,
    true). parse_special: the texts of special tokens are these tokens. with_pieces,
    return_token_strs: tell each token's text too.
    """

    model_config = ConfigDict(extra="allow")

    model: StrictStr = ""
    content: StrictStr | None = None
    prompt: StrictStr | None = None
    messages: list[dict[str, Any]] | None = Field(default=None, min_length=1)
    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_special: StrictBool | None = None
    add_special_tokens: StrictBool | None = None
    parse_special: StrictBool = True
    with_pieces: StrictBool = False
    return_token_strs: StrictBool = False


class DetokenizeBody(BaseModel):
    """tokens: ids."""

    model_config = ConfigDict(extra="allow")

    model: StrictStr = ""
    tokens: list[StrictInt] = Field(max_length=MAX_IDS)


def router(rack: Rack) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["ingle"])

    @routes.post("/tokenize")
    async def tokenize(body: TokenizeBody) -> dict[str, Any]:
        """Text as token ids."""
        model = await rack.model(body.model)
        ids = _ids(body, model)
        told: dict[str, Any] = {"tokens": ids}
        if body.with_pieces:
            told["tokens"] = [{"id": i, "piece": model.decode([i])} for i in ids]
        if body.return_token_strs:
            told["token_strs"] = [model.decode([i]) for i in ids]
        return told | {"count": len(ids), "max_model_len": model.context_tokens}

    @routes.post("/detokenize")
    async def detokenize(body: DetokenizeBody) -> dict[str, Any]:
        """Token ids as text."""
        text = (await rack.model(body.model)).decode(body.tokens)
        return {"content": text, "prompt": text}

    @routes.get("/tokenizer_info")
    async def tokenizer_info(model: str = "") -> dict[str, Any]:
        """What harnesses that tokenize by this server need to know of it (vLLM's fields)."""
        found = await rack.model(model)
        return {**found.tokenizer_facts(), "model_max_length": found.context_tokens}

    return routes


def _ids(body: TokenizeBody, model: Answering) -> list[int]:
    given = [n for n in ("content", "prompt", "messages") if getattr(body, n) is not None]
    if len(given) != 1:
        rule = (
            f"it must be one of content, prompt and messages, but got {', '.join(given) or 'none'}"
        )
        raise IngleError("prompt", rule)
    if body.messages is not None:
        options = {"tools": body.tools or None, "chat_template_kwargs": body.chat_template_kwargs}
        return model.prompt_ids(read_messages(body.messages), options)
    begin = body.add_special if body.add_special_tokens is None else body.add_special_tokens
    if begin is None:
        begin = body.prompt is not None  # vLLM's usual
    text = body.content if body.prompt is None else body.prompt
    return model.encode(text or "", body.parse_special, begin)
