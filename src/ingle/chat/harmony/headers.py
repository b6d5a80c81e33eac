"""Owns which headers a model may write, as ids: what a mask allows next.

`HarmonyParser` says where in a header the stream is (`header_ids`); this says what may follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class HeaderGrammar:
    """The headers of messages an assistant may write.

    channels: those it may write on without a recipient. recipients: the tools it may call,
    ("functions.f", ...), on "commentary", or on "analysis" for tools that are no functions.
    """

    def __init__(self, channels: Iterable[str], recipients: Iterable[str] = ()) -> None:
        raise NotImplementedError

    def allowed(self, header_ids: Sequence[int]) -> frozenset[int]:
        """Ids that may follow ``<|start|>assistant`` and `header_ids`; empty if these are wrong.

        The last of a header is <|message|>. A single id is forced.
        """
        raise NotImplementedError
