"""Owns log-probabilities as OpenAI's APIs write them, whole and along a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from ingle.llm import TokenLogprob

_LEAST = -9999.0  # JSON has no minus infinity


class LogprobQueue:
    """Log-probabilities that wait for the text their tokens are part of.

    Text may be behind its tokens, by half a character or by what might begin a stop string.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()  # by the first byte's place
        self._num_bytes = 0  # of the tokens so far
        self._num_shown = 0  # of the text so far

    def put(self, found: TokenLogprob) -> None:
        """The next token's."""
        self._waiting.append((self._num_bytes, found))
        self._num_bytes += len(found.data)

    def shown(self, text: str) -> list[TokenLogprob]:
        """Those of the tokens that the text which is shown now is made of."""
        self._num_shown += len(text.encode("utf-8", "surrogatepass"))
        found: list[TokenLogprob] = []
        while self._waiting and self._waiting[0][0] < self._num_shown:
            found.append(self._waiting.popleft()[1])
        return found

    def rest(self, stopped: bool) -> list[TokenLogprob]:
        """Those left at the end; none, where a stop string took their text away."""
        return [] if stopped else [found for _, found in self._waiting]


def shown_tokens(tokens: Sequence[TokenLogprob], text: str, stopped: bool) -> list[TokenLogprob]:
    """Of an answer's tokens those that its text is made of."""
    queue = LogprobQueue()
    for found in tokens:
        queue.put(found)
    return [*queue.shown(text), *queue.rest(stopped)]


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """As the Chat API has them in a choice."""
    content = [
        {**entry(found), "top_logprobs": [entry(other) for other in found.top]} for found in tokens
    ]
    return {"content": content, "refusal": None}


def entry(found: TokenLogprob) -> dict[str, Any]:
    """A token, its log-probability and its bytes."""
    return {"token": found.text, "logprob": number(found.logprob), "bytes": list(found.data)}


def number(logprob: float) -> float:
    """A log-probability that JSON can hold."""
    return max(logprob, _LEAST)
