"""Owns turning messages into token ids, as openai-harmony 0.0.8 does, never through text.

What anybody said is encoded with special tokens disabled. It does not know which messages a
conversation consists of, nor which of them are shown again (`lowering`, `policy`).
"""

from __future__ import annotations

from collections.abc import Iterable

from ingle.chat.harmony.content import HarmonyMessage


def render(
    messages: Iterable[HarmonyMessage],
    opens: str | None = "assistant",
    for_training: bool = False,
) -> list[int]:
    """Ids of messages, and of the start of a turn of the role `opens` (None: no start).

    Without `opens`, the ids of some first messages begin the ids of all. for_training: an answer
    that stands last ends in <|return|>. Raises IngleError for a tool's message without a name and
    for content in a role that cannot have it.
    """
    raise NotImplementedError
