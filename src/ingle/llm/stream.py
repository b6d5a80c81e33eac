"""Owns a running answer: ids in, pieces of text out, cancelling, the completion at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from time import perf_counter

from ingle.errors import IngleError
from ingle.llm.completion import Completion, Timings, TokenLogprob, Usage
from ingle.llm.piece import Piece, Place, parts_of
from ingle.llm.reader import Reader
from ingle.llm.reasoning import Part, ReasoningSplitter
from ingle.runtime import Engine, FinishReason, Progress, Request
from ingle.tokenizer import Tokenizer


class Stream:
    """Pieces of text as they are ready; `completion` tells the whole once the end is reached.

    `parts` gives reasoning too, told apart. Reasoning that a model of a chat template writes
    between tags is also in the pieces of text, as it was written.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        request: Request,
        reader: Reader,
        load_s: float = 0.0,
    ) -> None:
        self._request = request
        self._reader = reader
        self._progress = Progress(len(request.prompt_ids))
        self._tokenizer = tokenizer
        self._wants_logprobs = request.logprobs is not None
        self._load_s = load_s
        self._ids: list[int] = []
        self._cancelled = False
        self._completion: Completion | None = None
        self._started = perf_counter()
        self._first_token_s = 0.0
        self._num_reasoning = 0  # ids of reasoning
        self._pieces = self._run(engine, request)
        self.opens_in_reasoning = False
        """Whether the prompt itself opened the model's reasoning, as some chat templates do."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            piece = next(self._pieces)
            if isinstance(piece, Part) and not piece.is_reasoning:
                return piece.text

    def parts(self) -> Iterator[Part]:
        """Pieces of text and of reasoning, each said to be one or the other; instead of pieces."""
        if self._reader.tells_reasoning:
            for told in self._pieces:
                yield from parts_of([told])
            return
        splitter = ReasoningSplitter(self.opens_in_reasoning)
        for piece in self:
            yield from splitter.feed(piece)
        yield from splitter.finish()

    @property
    def request(self) -> Request:
        """What is asked of the engine."""
        return self._request

    def whole(self) -> Completion:
        """Reads to the end and returns the answer."""
        for _ in self:
            pass
        return self.completion

    def cancel(self) -> None:
        """Ends the generation; what was made so far stays in `completion`.

        Called while a piece is being made, by another thread, it ends with that piece's token.
        """
        self._cancelled = True
        with contextlib.suppress(ValueError):  # the generator is running
            self._pieces.close()
            self._finish(FinishReason.CANCELLED)

    def feed(self, token: int) -> Sequence[Piece]:
        """The pieces that are certain with the next token; for who is told of tokens by others."""
        if not self._ids:
            self._first_token_s = perf_counter() - self._started
        self._ids.append(token)
        pieces, place = self._reader.feed(token), self._reader.place
        self._num_reasoning += place is Place.REASONING
        if self._wants_logprobs and place is Place.ANSWER:
            found = self._progress.logprobs[len(self._ids) - 1]
            pieces = [TokenLogprob.of(found, self._tokenizer), *pieces]
        return () if self._cancelled else pieces

    def end(self) -> Sequence[Piece]:
        """The last pieces, after `feed` was told of all tokens; `completion` is ready."""
        reason = self._progress.finish_reason
        parts: Sequence[Piece] = ()
        if self._cancelled and not self.stopped:
            reason = FinishReason.CANCELLED
        else:
            parts = self._reader.finish(reason is FinishReason.STOP)
        self._finish(FinishReason.STOP if self.stopped else reason)
        return parts

    def quit(self) -> None:
        """What is told from now on is not handed out; `end` says that it was cancelled."""
        self._cancelled = True

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer."""
        return self._reader.stopped

    @property
    def progress(self) -> Progress:
        """Counts and times, kept up to date by the engine."""
        return self._progress

    @property
    def tells_reasoning(self) -> bool:
        """Whether parts say themselves what is reasoning; else a `ReasoningSplitter` must."""
        return self._reader.tells_reasoning

    @property
    def finished(self) -> bool:
        """Whether `completion` is ready."""
        return self._completion is not None

    @property
    def completion(self) -> Completion:
        """The whole answer; IngleError before the end."""
        if self._completion is None:
            raise IngleError(
                "stream", "completion is ready after the last piece, but got asked now"
            )
        return self._completion

    def _run(self, engine: Engine, request: Request) -> Generator[Piece, None, None]:
        try:
            self._finish((yield from self._generate(engine, request)))
        except GeneratorExit:  # `completion` is ready before anybody sees the end
            self._finish(FinishReason.CANCELLED)
            raise

    def _generate(self, engine: Engine, request: Request) -> Generator[Piece, None, FinishReason]:
        self._started = perf_counter()
        for token in engine.generate(request, self._progress):
            yield from self.feed(token)
            if self._cancelled:
                return FinishReason.CANCELLED
            if self.stopped:
                break
        yield from self._reader.finish(self._progress.finish_reason is FinishReason.STOP)
        return FinishReason.STOP if self.stopped else self._progress.finish_reason

    def _finish(self, reason: FinishReason) -> None:
        if self._completion is not None:
            return
        p, reply = self._progress, self._reader.reply()
        num_said = len(self._ids) if self.stopped else p.completion_tokens
        called = reason is FinishReason.STOP and reply.tool_calls and not reply.cut_call
        self._completion = Completion(
            reply.text,
            tuple(self._ids),
            "tool_calls" if called else str(reason),
            Usage(p.prompt_tokens, num_said, p.cached_tokens, self._num_reasoning),
            Timings.of(p, self._load_s, self._first_token_s),
            self._logprobs() if self._wants_logprobs else None,
            reply.answer,
            reply.reasoning,
            reply.tool_calls,
            reply.messages,
            reply.cut_call,
            reply.repairs,
            getattr(self._request.constraint, "cost", None),
            self.prompt_logprobs,
            reply.stop,
            self._stop_logprob(),
        )

    def _stop_logprob(self) -> TokenLogprob | None:
        found = self._progress.stop_logprobs
        if found is None or self.stopped:  # the engine may be ahead of what ended the text
            return None
        return TokenLogprob.of(found, self._tokenizer)

    @property
    def prompt_logprobs(self) -> tuple[TokenLogprob, ...] | None:
        """Of the prompt's tokens from the second on, as far as computed; None if nobody asked."""
        if self._request.prompt_logprobs is None:
            return None
        return tuple(
            TokenLogprob.of(one, self._tokenizer) for one in self._progress.prompt_logprobs
        )

    def _logprobs(self) -> tuple[TokenLogprob, ...]:
        found = self._progress.logprobs[: len(self._ids)]
        return tuple(TokenLogprob.of(one, self._tokenizer) for one in found)
