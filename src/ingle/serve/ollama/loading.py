"""Owns how an Ollama request gets its model: asked of the rack, kept as long as it says."""

from __future__ import annotations

from time import perf_counter

from ingle.serve.ollama.options import AskBody
from ingle.serve.ollama.reply import Reply
from ingle.serve.rack import Answering, Rack


async def loaded(rack: Rack, body: AskBody, reply: Reply) -> Answering:
    """The model, with room for what is asked; `reply` is told how long loading took.

    Raises IngleError.
    """
    began = perf_counter()
    model = await rack.model(body.model, body.keep_s())
    reply.load_s = perf_counter() - began
    body.check_context(model.context_tokens)
    return model


async def let_go(rack: Rack, name: str) -> None:
    """Free a model, if it is loaded. Raises ModelNotFoundError."""
    place = rack.place(name)
    if place.model is not None:
        await rack.unload(place.name)
