"""Owns the Python API: where text meets tokens. Names become files, text becomes ids and back.

It does not know kernels, pages or HTTP.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray

from ingle import hub
from ingle.backends import make_backend
from ingle.chat.template import render_ids
from ingle.errors import IngleError
from ingle.formats import GgufFile
from ingle.models import load_model
from ingle.runtime import Engine, FinishReason, Progress, Request, SamplingParams
from ingle.tokenizer import Tokenizer, from_gguf_metadata

DEFAULT_CONTEXT = 4096

# What a model's makers recommend, by `general.basename`; (temperature, top_p).
_RECOMMENDED = {"smollm2": (0.2, 0.9)}
_ORDINARY = (0.8, 0.95)


@dataclass(frozen=True)
class Usage:
    """Tokens counted; `cached_tokens` of the prompt needed no computing."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timings:
    """Seconds, and tokens per second: load_s is the model's, the rest this generation's."""

    load_s: float
    prompt_s: float
    decode_s: float
    first_token_s: float
    prompt_tokens_per_s: float
    decode_tokens_per_s: float


@dataclass(frozen=True)
class Completion:
    """An answer. finish_reason: "stop", "length" or "cancelled"."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    usage: Usage
    timings: Timings


class Stream:
    """Pieces of text as they are ready; `completion` tells the whole once the end is reached."""

    def __init__(self, llm: LLM, request: Request, stops: Sequence[str]) -> None:
        self._progress = Progress(len(request.prompt_ids))
        self._load_s = llm.load_s
        self._ids: list[int] = []
        self._text = ""
        self._cancelled = False
        self._completion: Completion | None = None
        self._first_token_s = 0.0
        self._pieces = self._run(llm, request, stops)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def cancel(self) -> None:
        """Ends the generation; what was made so far stays in `completion`."""
        self._cancelled = True
        self._pieces.close()
        self._finish(FinishReason.CANCELLED)

    @property
    def completion(self) -> Completion:
        """The whole answer; IngleError before the end."""
        if self._completion is None:
            raise IngleError(
                "stream", "completion is ready after the last piece, but got asked now"
            )
        return self._completion

    def _run(self, llm: LLM, request: Request, stops: Sequence[str]) -> Generator[str, None, None]:
        started = perf_counter()
        decoder = llm.tokenizer.decoder(skip_special=True)
        tail = _StopScanner(stops)
        for token in llm.engine.generate(request, self._progress):
            if not self._ids:
                self._first_token_s = perf_counter() - started
            self._ids.append(token)
            piece, stopped = tail.feed(decoder.feed(token))
            if piece:
                self._text += piece
                yield piece
            if stopped:
                self._finish(FinishReason.STOP)
                return
        piece, stopped = tail.feed(decoder.finish())
        piece += "" if stopped else tail.finish()
        if piece:
            self._text += piece
            yield piece
        self._finish(FinishReason.STOP if stopped else self._progress.finish_reason)

    def _finish(self, reason: FinishReason) -> None:
        if self._completion is None:
            p = self._progress
            usage = Usage(p.prompt_tokens, p.completion_tokens, p.cached_tokens)
            self._completion = Completion(
                self._text, tuple(self._ids), str(reason), usage, self._timings(p)
            )

    def _timings(self, p: Progress) -> Timings:
        decoded = max(p.completion_tokens - 1, 0)  # the first comes out of the prompt
        return Timings(
            load_s=self._load_s,
            prompt_s=p.prompt_s,
            decode_s=p.decode_s,
            first_token_s=self._first_token_s,
            prompt_tokens_per_s=_rate(p.prompt_tokens - p.cached_tokens, p.prompt_s),
            decode_tokens_per_s=_rate(decoded, p.decode_s),
        )


class LLM:
    """A model ready to answer.

    model: a known name ("smollm2:135m"), or the path of a GGUF file.
    backend: "cpu" (native kernels) or "reference" (numpy); with the latter, emulate="q8" repeats
    the native arithmetic. threads: default all usable cores. context: tokens, default 4096 or the
    model's own limit.
    Raises IngleError for what cannot be found, read or run.
    """

    def __init__(
        self,
        model: str | Path = hub.DEFAULT_MODEL,
        *,
        backend: str = "cpu",
        threads: int | None = None,
        context: int | None = None,
        emulate: str | None = None,
    ) -> None:
        started = perf_counter()
        self.path = hub.resolve(model)
        container = GgufFile.open(self.path)
        self.metadata: Mapping[str, Any] = container.metadata
        with ThreadPoolExecutor(1) as background:  # the tokenizer is built while weights load
            tokenizer = background.submit(from_gguf_metadata, self.metadata)
            self.backend = make_backend(backend, threads, emulate)
            loaded = load_model(container, self.backend, context or DEFAULT_CONTEXT)
            self.tokenizer: Tokenizer = tokenizer.result()
        limit = loaded.max_position_embeddings
        self.engine = Engine(loaded, self.backend, context or min(DEFAULT_CONTEXT, limit))
        self.load_s = perf_counter() - started

    @property
    def kernels(self) -> str:
        """The instruction set (cpu) or arithmetic (reference) in use."""
        return self.backend.kernels

    @overload
    def generate(
        self, prompt: str, *, stream: Literal[False] = False, **options: Any
    ) -> Completion: ...
    @overload
    def generate(self, prompt: str, *, stream: Literal[True], **options: Any) -> Stream: ...
    def generate(self, prompt: str, *, stream: bool = False, **options: Any) -> Completion | Stream:
        """Continues raw text; no template is applied.

        options: temperature, top_p, top_k, max_tokens, seed, stop (a string or several).
        """
        ids = self.tokenizer.encode(prompt)
        bos = self.tokenizer.bos_id
        if self.tokenizer.add_bos and bos is not None:
            ids = [bos, *ids]
        return self._answer(ids, stream, options)

    @overload
    def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        stream: Literal[False] = False,
        **options: Any,
    ) -> Completion: ...
    @overload
    def chat(
        self, messages: str | Sequence[Mapping[str, Any]], *, stream: Literal[True], **options: Any
    ) -> Stream: ...
    def chat(
        self, messages: str | Sequence[Mapping[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion | Stream:
        """Answers a conversation (a string is one user message) by the model's chat template.

        options: as `generate`.
        """
        template = self.metadata.get("tokenizer.chat_template")
        if not isinstance(template, str):
            raise IngleError(
                "chat", "model must bring a chat template, but got none", "use --raw / generate()"
            )
        turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return self._answer(render_ids(self.tokenizer, template, turns), stream, options)

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits after each token, from an empty context: float32 (len(ids), vocab_size)."""
        return self.engine.logits(ids)

    def close(self) -> None:
        """Frees weights, pages and threads; the object is of no use afterwards."""
        self.__dict__.pop("engine", None)
        self.__dict__.pop("backend", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, ids: list[int], stream: bool, options: dict[str, Any]) -> Completion | Stream:
        stops = options.pop("stop", None) or ()
        request = self._request(ids, **options)
        made = Stream(self, request, (stops,) if isinstance(stops, str) else tuple(stops))
        if stream:
            return made
        for _ in made:
            pass
        return made.completion

    def _request(
        self,
        ids: list[int],
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> Request:
        basename = str(self.metadata.get("general.basename", "")).lower()
        usual_temperature, usual_top_p = _RECOMMENDED.get(basename, _ORDINARY)
        sampling = SamplingParams(
            temperature=usual_temperature if temperature is None else temperature,
            top_p=usual_top_p if top_p is None else top_p,
            top_k=top_k or 0,
            seed=seed,
        )
        return Request(ids, sampling, max_tokens, self.tokenizer.eos_ids)


class _StopScanner:
    """Passes text on until a stop string appears; holds back what might be the start of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""

    def feed(self, piece: str) -> tuple[str, bool]:
        """The text that is now certain, and whether a stop string ended it."""
        text = self._held + piece
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self._held = ""
            return text[: min(found)], True
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def finish(self) -> str:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    limit = min(len(text), len(stop) - 1)
    return next((n for n in range(limit, 0, -1) if text.endswith(stop[:n])), 0)


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds > 0 and tokens > 0 else 0.0
