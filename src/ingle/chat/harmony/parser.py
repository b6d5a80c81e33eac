"""Owns reading a model's ids as Harmony messages, one id at a time; it never fails.

Whatever ids come, events come out whose ids are those ids. What the format has no place for is
put right by a rule of `repairs`, and reported. It does not know tools, schemas or sampling.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from ingle.chat.event import Event


class Phase(Enum):
    """Where in a message the next id stands."""

    BETWEEN = "between"
    HEADER = "header"
    CONTENT = "content"


class HarmonyParser:
    """An automaton over ids.

    role: of the turn that the prompt opened ("assistant": its ids continue ``<|start|>assistant``);
    None where the ids begin with ``<|start|>`` themselves.

    State, between ids: `phase`; `header_ids`, those of a header so far (after <|start|>, or after
    the opened role); `role`, `channel`, `recipient`, `content_type` of the message whose content
    is being read; `repairs`, how many so far, by rule.
    """

    def __init__(self, role: str | None = "assistant") -> None:
        self.phase = Phase.BETWEEN if role is None else Phase.HEADER
        self.header_ids: list[int] = []
        self.role: str | None = None
        self.channel: str | None = None
        self.recipient: str | None = None
        self.content_type: str | None = None
        self.repairs: dict[str, int] = {}

    def feed(self, token_id: int) -> list[Event]:
        """What one more id says; often nothing yet."""
        raise NotImplementedError

    def feed_many(self, ids: Iterable[int]) -> list[Event]:
        """The events of `feed` for each id."""
        return [event for token_id in ids for event in self.feed(token_id)]

    def finish(self) -> list[Event]:
        """What the end of the stream says; an open message is closed as incomplete."""
        raise NotImplementedError
