"""Owns a running answer: ids in, pieces of text out, cancelling, the completion at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from time import perf_counter

from ingle.errors import IngleError
from ingle.llm.completion import Completion, Timings, TokenLogprob, Usage
from ingle.llm.stop import StopScanner
from ingle.runtime import Engine, FinishReason, Progress, Request
from ingle.tokenizer import Tokenizer


class Stream:
    """Pieces of text as they are ready; `completion` tells the whole once the end is reached."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        request: Request,
        stops: Sequence[str] = (),
        load_s: float = 0.0,
    ) -> None:
        self._progress = Progress(len(request.prompt_ids))
        self._tokenizer = tokenizer
        self._wants_logprobs = request.logprobs is not None
        self._load_s = load_s
        self._ids: list[int] = []
        self._text = ""
        self._cancelled = False
        self._completion: Completion | None = None
        self._first_token_s = 0.0
        self._pieces = self._run(engine, request, StopScanner(stops))
        self.opens_in_reasoning = False
        """Whether the prompt itself opened the model's reasoning, as some chat templates do."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

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

    def _run(
        self, engine: Engine, request: Request, stops: StopScanner
    ) -> Generator[str, None, None]:
        try:
            self._finish((yield from self._generate(engine, request, stops)))
        except GeneratorExit:  # `completion` is ready before anybody sees the end
            self._finish(FinishReason.CANCELLED)
            raise

    def _generate(
        self, engine: Engine, request: Request, stops: StopScanner
    ) -> Generator[str, None, FinishReason]:
        started = perf_counter()
        decoder = self._tokenizer.decoder(skip_special=True)
        for token in engine.generate(request, self._progress):
            if not self._ids:
                self._first_token_s = perf_counter() - started
            self._ids.append(token)
            known = token < self._tokenizer.vocab_size  # a model may have more rows than words
            piece, stopped = stops.feed(decoder.feed(token) if known else "")
            self._text += piece
            if piece and not self._cancelled:
                yield piece
            if self._cancelled:
                return FinishReason.CANCELLED
            if stopped:
                return FinishReason.STOP
        piece, stopped = stops.feed(decoder.finish())
        piece += "" if stopped else stops.finish()
        self._text += piece
        if piece:
            yield piece
        return FinishReason.STOP if stopped else self._progress.finish_reason

    def _finish(self, reason: FinishReason) -> None:
        if self._completion is not None:
            return
        p = self._progress
        self._completion = Completion(
            self._text,
            tuple(self._ids),
            str(reason),
            Usage(p.prompt_tokens, p.completion_tokens, p.cached_tokens),
            Timings.of(p, self._load_s, self._first_token_s),
            self._logprobs() if self._wants_logprobs else None,
        )

    def _logprobs(self) -> tuple[TokenLogprob, ...]:
        found = self._progress.logprobs[: len(self._ids)]
        return tuple(TokenLogprob.of(one, self._tokenizer) for one in found)
