"""Owns which models a server has: by what names they are asked for, and when they are loaded.

It does not know HTTP, nor what an answer is made of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ingle.chat.message import Message
from ingle.errors import IngleError, ModelNotFoundError
from ingle.llm import AsyncStream
from ingle.runtime import Terms

Messages = Sequence[Message | Mapping[str, Any]]


class Answering(Protocol):
    """What a server asks of a model; `ingle.llm.LLM` is one."""

    @property
    def context_tokens(self) -> int:
        """Tokens that a prompt and its answer have room for together."""

    def awaited_reply(
        self, messages: Messages, options: Mapping[str, Any], terms: Terms
    ) -> AsyncStream:
        """A chat answered. Raises IngleError, BusyError."""

    def awaited_continuation(
        self, prompt: str | Sequence[int], options: Mapping[str, Any], terms: Terms
    ) -> AsyncStream:
        """Text or ids continued, no template applied. Raises IngleError, BusyError."""

    def encode(self, text: str, with_specials: bool = False, begin: bool = False) -> list[int]:
        """Ids of a text. begin: after the model's beginning token, if it wants one."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""

    def count_prompt(self, messages: Messages, options: Mapping[str, Any]) -> int:
        """Tokens of a chat's prompt, without computing anything."""

    def warm_history(self, messages: Messages, options: Mapping[str, Any]) -> None:
        """Compute what the next turn of a chat will begin with, once there is time."""

    def status(self) -> Mapping[str, Any]:
        """What is running, waiting and kept, in numbers."""

    def close(self) -> None:
        """Give everything back."""


@dataclass
class Place:
    """A model by its name. created: seconds since 1970 at which it was put up."""

    name: str
    load: Callable[[], Answering]
    model: Answering | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    used: float = field(default_factory=time.monotonic)
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)


class Rack:
    """Models put up under names; each is loaded when it is first asked for."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = {place.name: place for place in places}

    def place(self, name: str) -> Place:
        """The one of that name; whatever is asked for where there is only one."""
        found = self.places.get(name) or self.places.get(name.removesuffix(":latest"))
        if found is None and len(self.places) == 1:
            (found,) = self.places.values()
        if found is None:
            rule = f"a model must be one that is served, but got {name[:80]!r}"
            raise ModelNotFoundError("model", rule, f"served: {', '.join(self.places)}")
        return found

    async def model(self, name: str) -> Answering:
        """The model of that name, loaded now if need be; the event loop stays free."""
        place = self.place(name)
        async with place.loading:
            if place.model is None:
                place.model = await asyncio.to_thread(place.load)
        place.used = time.monotonic()
        return place.model

    async def unload(self, name: str) -> None:
        """Frees a model that is loaded. Raises ModelNotFoundError, IngleError."""
        place = self.places.get(name) or self.place(name)
        async with place.loading:
            if place.model is None:
                rule = f"a model must be loaded to be stopped, but got {place.name}"
                raise IngleError("model", rule, "`ingle ps` lists the loaded ones")
            model, place.model = place.model, None
            await asyncio.to_thread(model.close)

    async def close(self) -> None:
        """Frees all."""
        for place in self.places.values():
            if place.model is not None:
                await self.unload(place.name)
