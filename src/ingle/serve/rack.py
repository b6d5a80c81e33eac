"""Owns which models a server has: by what names they are asked for, when they come and go.

A model is loaded when it is first asked for and goes when it was idle for its time, or when another
one needs its memory: the one used longest ago first. It does not know HTTP, nor what an answer is
made of.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ingle.chat.message import Message
from ingle.errors import IngleError, ModelNotFoundError
from ingle.hub import also_called, is_known
from ingle.llm import AsyncStream
from ingle.runtime import BusyError, Meter, Terms
from ingle.serve import exchange
from ingle.serve.budget import Budget, Demand

_LOOK_S = 0.5  # between looks for models whose time is over
_BUSY_S = 5.0  # after which to ask again for a model that has no room now

Messages = Sequence[Message | Mapping[str, Any]]


class Answering(Protocol):
    """What a server asks of a model; `ingle.llm.LLM` is one."""

    @property
    def context_tokens(self) -> int:
        """Tokens that a prompt and its answer have room for together."""

    @property
    def system(self) -> str | None:
        """What the model's name brings as a system message; a dialect puts it first, or not."""

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

    def tokenizer_facts(self) -> Mapping[str, Any]:
        """Texts of the tokens that begin and end, and the chat template; None for what is not."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""

    def prompt_ids(self, messages: Messages, options: Mapping[str, Any]) -> list[int]:
        """Ids of a chat's prompt, without computing anything."""

    def count_prompt(self, messages: Messages, options: Mapping[str, Any]) -> int:
        """Tokens of a chat's prompt, without computing anything."""

    def warm_history(self, messages: Messages, options: Mapping[str, Any]) -> None:
        """Compute what the next turn of a chat will begin with, once there is time."""

    def status(self) -> Mapping[str, Any]:
        """What is running, waiting and kept, in numbers."""

    def measure(self, meter: Meter) -> None:
        """Have `meter` told what is computed; before anything is."""

    def cut_short(self) -> None:
        """End all that is not answered yet, with an error that says why."""

    def close(self) -> None:
        """Give everything back."""


@dataclass(eq=False)
class Place:
    """A model by its name. created: seconds since 1970 at which it was put up.

    demand: what it asks of the server's memory; None takes none of it. keep_s: seconds that it
    stays when nobody uses it; None for as long as the rack keeps models. users: exchanges that hold
    it.
    """

    name: str
    load: Callable[[], Answering]
    model: Answering | None = None
    demand: Demand | None = None
    keep_s: float | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    used: float = field(default_factory=time.monotonic)
    users: int = 0

    def hold(self) -> None:
        """One more exchange uses it."""
        self.users += 1
        self.used = time.monotonic()

    def release(self) -> None:
        """One less."""
        self.users -= 1
        self.used = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether anybody would miss it now."""
        if self.users:
            return True
        status = {} if self.model is None else self.model.status()
        return bool(status.get("running") or status.get("waiting"))


class Rack:
    """Models put up under names.

    places: what the server was started with; if it is one, it answers to names that mean nothing
    else, whatever is put up later. budget: memory for all of them. keep_s: seconds that a model
    stays loaded when nobody uses it. discover: makes a place for a name that is not on the rack
    yet, or says None.
    """

    def __init__(
        self,
        places: Sequence[Place],
        budget: Budget | None = None,
        keep_s: float = math.inf,
        discover: Callable[[str], Place | None] | None = None,
    ) -> None:
        self.places: dict[str, Place] = {}
        self.keep_s = keep_s
        self._meter: Callable[[str], Meter] | None = None
        self.budget = budget or Budget()
        self._discover = discover
        self._names: dict[str, Place] = {}  # other names, lower case
        self._usual = places[0].name if len(places) == 1 else None
        self._changing = asyncio.Lock()  # one model at a time comes or goes
        for place in places:
            self._put_up(place)

    def count_with(self, meter: Callable[[str], Meter]) -> None:
        """meter: makes what counts for a model, by its name."""
        self._meter = meter
        for place in self.places.values():
            if place.model is not None:
                place.model.measure(meter(place.name))

    def place(self, name: str) -> Place:
        """The one of that name; where the server was started with one, that for any other name.

        Raises ModelNotFoundError.
        """
        found = self._found(name)
        is_absent = self._discover is not None and is_known(name)
        if found is None and self._usual is not None and not is_absent:
            found = self._found(self._usual)
        if found is None:
            rule = f"a model must be one that is served, but got {name[:80]!r}"
            raise ModelNotFoundError("model", rule, f"served: {', '.join(self.places)[:400]}")
        return found

    @property
    def discovers(self) -> bool:
        """Whether other models than those put up can be asked for."""
        return self._discover is not None

    async def model(self, name: str, keep_s: float | None = None) -> Answering:
        """The model of that name, loaded now if need be; the event loop stays free.

        It stays until the exchange in which it is asked for is over, and then keep_s seconds if
        nobody else asks (None: as was said before). Raises ModelNotFoundError; IngleError when it
        cannot be loaded; BusyError while others that are in use leave too little memory for it.
        """
        place = self.place(name)
        around = exchange.current.get()
        if around is not None:
            around.model = place.name
            around.hold(place)
        if keep_s is not None:
            place.keep_s = keep_s
        while place.model is None:
            await self._load(place)
        place.used = time.monotonic()
        return place.model

    async def unload(self, name: str) -> None:
        """Frees a model that is loaded, by a name of its own. Raises IngleError."""
        place = self._put_up_as(name)
        async with self._changing:
            if place is None or place.model is None:
                loaded = [one.name for one in self.places.values() if one.model is not None]
                of = f"one of {', '.join(loaded)[:400]}" if loaded else "and none is loaded"
                rule = f"a model must be loaded to be stopped, {of}, but got {name[:80]!r}"
                raise IngleError("model", rule)
            await self._free(place)

    def expires_s(self, place: Place) -> float:
        """Seconds until a loaded model goes if nobody asks for it; infinite for one that stays."""
        keep_s = self.keep_s if place.keep_s is None else place.keep_s
        return math.inf if place.busy else max(0.0, place.used + keep_s - time.monotonic())

    def remove(self, name: str) -> None:
        """Takes the name of a model that is not loaded off the rack, if it is there."""
        place = self.places.get(name)
        if place is not None and place.model is None:
            del self.places[name]
            self._names = {key: one for key, one in self._names.items() if one is not place}

    async def tend(self) -> None:
        """Frees models whose time is over, without end."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for place in list(self.places.values()):
                if place.model is not None and self.expires_s(place) <= 0:
                    async with self._changing:
                        if place.model is not None and not place.busy:
                            await self._free(place)

    def cut_short(self) -> None:
        """Ends all that is not answered yet, with an error that says why."""
        for place in self.places.values():
            if place.model is not None:
                place.model.cut_short()

    async def close(self) -> None:
        """Frees all."""
        for place in self.places.values():
            if place.model is not None:
                async with self._changing:
                    await self._free(place)

    def _put_up_as(self, name: str) -> Place | None:
        """What is on the rack by that name, or another one of its own."""
        return self.places.get(name) or self._names.get(name.lower().removesuffix(":latest"))

    def _found(self, name: str) -> Place | None:
        """The same, or what is found on this machine, which is then put up."""
        found = self._put_up_as(name)
        if found is None and self._discover is not None:
            found = self._discover(name)
            if found is not None:
                self._put_up(found)
        return found

    def _put_up(self, place: Place) -> None:
        self.places[place.name] = place
        for name in also_called(place.name):
            self._names.setdefault(name, place)

    async def _load(self, place: Place) -> None:
        async with self._changing:
            if place.model is not None:
                return
            if place.demand is not None:
                await self._make_room(place, place.demand)
            try:
                place.model = await asyncio.to_thread(self._loaded, place)
            except BaseException:
                if place.demand is not None:
                    place.demand.give_back()
                raise

    def _loaded(self, place: Place) -> Answering:
        model = place.load()
        if self._meter is not None:
            model.measure(self._meter(place.name))
        return model

    async def _make_room(self, place: Place, demand: Demand) -> None:
        """Grants a model its memory; those that nobody uses go for it."""
        least = await asyncio.to_thread(demand.least_bytes)
        self.budget.check(place.name, least)
        while self.budget.limit_bytes - self._taken_bytes() < least:
            idle = [p for p in self.places.values() if p.model is not None and not p.busy]
            if not idle:
                rule = f"memory must be free for {place.name}, but got other models in use"
                raise BusyError(rule, _BUSY_S)
            await self._free(min(idle, key=lambda one: one.used))
        room = self.budget.room(self._taken_bytes())
        others = await asyncio.to_thread(self._wanted_bytes, place, room - least)
        await asyncio.to_thread(demand.grant, room - others)

    def _taken_bytes(self) -> int:
        return sum(p.demand.nbytes for p in self.places.values() if p.demand is not None)

    def _wanted_bytes(self, place: Place, most_bytes: int) -> int:
        """What others that are not loaded would take at least: as many of them as fit."""
        total = 0
        for other in self.places.values():
            if other is not place and other.model is None and other.demand is not None:
                with contextlib.suppress(IngleError):  # told when it is asked for
                    least = other.demand.least_bytes()
                    total += least if total + least <= most_bytes else 0
        return total

    async def _free(self, place: Place) -> None:
        model, place.model = place.model, None
        place.keep_s = None  # before anybody can ask for the next one's
        if model is not None:
            await asyncio.to_thread(model.close)
        if place.demand is not None:
            place.demand.give_back()
