"""Owns the stream of OpenAI's Completions API: chunks of all choices, as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from ingle.llm import AsyncStream, TokenLogprob
from ingle.llm.reasoning import Part
from ingle.serve import sse
from ingle.serve.openai import error as openai_error
from ingle.serve.openai.chunks import Head
from ingle.serve.openai.completion_body import CompletionBody
from ingle.serve.openai.logprobs import LogprobQueue
from ingle.serve.openai.prompts import Prompt
from ingle.serve.openai.scores import Scores
from ingle.serve.openai.usage import finish_reason, usage_of_all
from ingle.serve.turn import merged


def echo(scores: Scores, prompt: Prompt, found: Sequence[TokenLogprob]) -> None:
    """The prompt's tokens; the model's beginning token is none of the client's."""
    if not prompt.num_begun:
        scores.first(prompt.first)
    scores.add(found)


async def chunks(
    body: CompletionBody, head: Head, prompts: Sequence[Prompt], streams: Sequence[AsyncStream]
) -> AsyncIterator[bytes]:
    """Events of a stream; an error is the last one."""
    writer = _Writer(body, head, prompts, streams)
    try:
        async for index, piece in merged(streams):
            if isinstance(piece, TokenLogprob):
                writer.queues[index].put(piece)
            elif isinstance(piece, Part):
                yield writer.text(index, piece.text)
        for index in range(len(streams)):
            yield writer.end(index)
        if writer.with_usage:
            yield writer.usage()
        yield sse.DONE
    except Exception as error:
        _, told = openai_error.told(error)
        yield sse.event(told)
    finally:
        for stream in streams:
            stream.cancel()


class _Writer:
    """Chunks; the first of each choice echoes its prompt, once its scores are there."""

    def __init__(
        self,
        body: CompletionBody,
        head: Head,
        prompts: Sequence[Prompt],
        streams: Sequence[AsyncStream],
    ) -> None:
        self.with_usage = bool(body.stream_options and body.stream_options.include_usage)
        self.queues = [LogprobQueue() for _ in streams]
        self._scores = [Scores() for _ in streams]
        self._body, self._prompts, self._streams = body, prompts, streams
        self._head = head.fields("text_completion")
        self._echoes = set(range(len(streams))) if body.echo else set()

    def text(self, index: int, text: str) -> bytes:
        echoed = self._echoed(index)
        self._scores[index].add(self.queues[index].shown(text))
        return self._chunk(index, echoed + text, None)

    def end(self, index: int) -> bytes:
        echoed, one = self._echoed(index), self._streams[index].completion
        self._scores[index].add(self.queues[index].rest(one.stop is not None))
        self._scores[index].add([] if one.stop_logprob is None else [one.stop_logprob])
        return self._chunk(index, echoed, finish_reason(one))

    def usage(self) -> bytes:
        made, count = [stream.completion for stream in self._streams], self._body.n or 1
        usage = usage_of_all([made[i : i + count] for i in range(0, len(made), count)])
        return sse.event(self._head | {"choices": [], "usage": usage})

    def _echoed(self, index: int) -> str:
        """The prompt, the first time."""
        if index not in self._echoes:
            return ""
        self._echoes.discard(index)
        prompt = self._prompts[index // (self._body.n or 1)]
        echo(self._scores[index], prompt, self._streams[index].prompt_logprobs)
        return prompt.text

    def _chunk(self, index: int, text: str, reason: str | None) -> bytes:
        told = None if self._body.logprobs is None else self._scores[index].taken()
        choice = {"text": text, "index": index, "logprobs": told, "finish_reason": reason}
        usage: dict[str, Any] = {"usage": None} if self.with_usage else {}
        return sse.event(self._head | {"choices": [choice]} | usage)
