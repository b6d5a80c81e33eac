"""Owns which headers an assistant may write, as ids: what a mask allows next.

`HarmonyParser.header_ids` says where in a header a stream is; this says what may follow there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ingle.chat.harmony.content import FUNCTIONS
from ingle.chat.harmony.tokens import ANALYSIS, CHANNEL, COMMENTARY, CONSTRAIN, FINAL, MESSAGE
from ingle.tokenizer import o200k_harmony

_Node = dict[int, "_Node"]


class HeaderGrammar:
    """The headers of messages that an assistant may write.

    channels: those it may write on to nobody in particular. recipients: the tools it may call,
    ("functions.f", "python"), in any of the spellings that gpt-oss uses.
    """

    def __init__(self, channels: Iterable[str], recipients: Iterable[str] = ()) -> None:
        self._root: _Node = {}
        for channel in channels:
            for header in _plain(channel):
                self._add(header)
        for recipient in recipients:
            for header in _calls(recipient):
                self._add(header)

    def allowed(self, header_ids: Sequence[int]) -> frozenset[int]:
        """Ids that may follow ``<|start|>`` and `header_ids`; empty where these are no beginning.

        The last of a header is <|message|>. Where there is one id, it is forced.
        """
        node = self._root
        for token_id in header_ids:
            found = node.get(token_id)
            if found is None:
                return frozenset()
            node = found
        return frozenset(node)

    def forced(self, header_ids: Sequence[int]) -> tuple[int, ...]:
        """The ids that must follow, as far as there is one choice."""
        said = list(header_ids)
        while len(allowed := self.allowed(said)) == 1:
            said += allowed
        return tuple(said[len(header_ids) :])

    @property
    def longest(self) -> int:
        """Ids of the longest header."""
        return _depth(self._root)

    def _add(self, header: Iterable[int]) -> None:
        node = self._root
        for token_id in header:
            node = node.setdefault(token_id, {})


def _depth(node: _Node) -> int:
    return max((1 + _depth(rest) for rest in node.values()), default=0)


def _ids(*parts: str | int) -> list[int]:
    """Ids of a header made of texts, each encoded by itself, and marks."""
    encode = o200k_harmony().encode
    return [i for part in parts for i in (encode(part) if isinstance(part, str) else [part])]


def _plain(channel: str) -> Iterator[list[int]]:
    yield _ids("assistant", CHANNEL, channel, MESSAGE)
    if channel == FINAL:
        yield _ids("assistant", CHANNEL, f"{channel} ", CONSTRAIN, "json", MESSAGE)


def _calls(recipient: str) -> Iterator[list[int]]:
    """The recipient in the role or after the channel, then perhaps a type."""
    is_function = recipient.startswith(f"{FUNCTIONS}.")
    channel, kind = (COMMENTARY, "json") if is_function else (ANALYSIS, "code")
    to = f" to={recipient}"
    for front, told in (("assistant" + to, channel), ("assistant", channel + to)):
        yield _ids(front, CHANNEL, told, MESSAGE)
        yield _ids(front, CHANNEL, told, f" {kind}", MESSAGE)
        yield _ids(front, CHANNEL, f"{told} {kind}", MESSAGE)
        yield _ids(front, CHANNEL, f"{told} ", CONSTRAIN, kind, MESSAGE)
