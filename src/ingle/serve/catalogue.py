"""Owns which models a server lists: those that can be asked for, the same in every dialect.

It does not know how a dialect writes its list.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ingle import hub
from ingle.serve.ollama.card import Card, card
from ingle.serve.rack import Place, Rack


@dataclass(frozen=True)
class Listed:
    """A model by its name. created: seconds since 1970. context_tokens: None until it is loaded."""

    name: str
    created: int
    context_tokens: int | None = None


async def cards(rack: Rack) -> list[Card]:
    """Of what is put up, and, if others are found when asked for, of all that is on this machine.

    They are read from disk, off the event loop.
    """
    return await asyncio.to_thread(_cards, list(rack.places), rack.discovers)


async def catalogue(rack: Rack) -> list[Listed]:
    """The same models, by what is known without their files."""
    found = [(one, rack.places.get(one.name)) for one in await cards(rack)]
    return [
        Listed(one.name, int(one.modified_s)) if place is None else listed(place)
        for one, place in found
    ]


def listed(place: Place) -> Listed:
    """A model that is put up."""
    context = None if place.model is None else place.model.context_tokens
    return Listed(place.name, place.created, context)


def _cards(served: list[str], discovers: bool) -> list[Card]:
    found = {name: card(name) for name in served}
    paths = {one.path for one in found.values()}
    for listing in hub.listing() if discovers else []:
        if listing.path is not None and (listing.base or listing.path not in paths):
            one = card(listing.name)
            if one.details is not None:  # else it is damaged
                found.setdefault(listing.name, one)
    return list(found.values())
