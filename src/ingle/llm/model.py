"""Owns `LLM`: a model opened and ready, asked with text or a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from ingle import hub
from ingle.backends import make_backend
from ingle.chat.template import render_ids
from ingle.errors import IngleError
from ingle.llm.completion import Completion
from ingle.llm.options import GenerateOptions, given, request
from ingle.llm.source import Source
from ingle.llm.stop import stop_strings
from ingle.llm.stream import Stream
from ingle.models import load_model
from ingle.runtime import Engine
from ingle.tokenizer import Tokenizer

DEFAULT_CONTEXT = 4096

Messages = str | Sequence[Mapping[str, Any]]


class LLM:
    """A model ready to answer.

    model: a known name ("smollm2:135m"), or the path of a GGUF file, a safetensors file, or a
    folder of them in Hugging Face's or OpenAI's layout.
    backend: "cpu" (native kernels) or "reference" (numpy); with the latter, emulate="q8" repeats
    the native arithmetic. exact: keep activations in float32 on "cpu", slower than in 8 bits.
    threads: default all usable cores. context: tokens, default 4096 or the model's own limit.
    num_experts_per_tok: for every request that does not say otherwise; default the model's own.
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
        exact: bool = False,
        num_experts_per_tok: int | None = None,
    ) -> None:
        started = perf_counter()
        _check_arithmetic(backend, emulate, exact)
        _check_count("threads", threads)
        _check_count("context", context)
        _check_count("num_experts_per_tok", num_experts_per_tok)
        self.path = hub.resolve(model)
        self._source = Source(self.path)
        with ThreadPoolExecutor(1) as background:  # the tokenizer is built while weights load
            tokenizer = background.submit(self._source.tokenizer)
            self.backend = make_backend(backend, threads, emulate, exact)
            loaded = load_model(
                self._source.container,
                self.backend,
                context or DEFAULT_CONTEXT,
                num_experts_per_tok=num_experts_per_tok,
            )
            self.tokenizer: Tokenizer = tokenizer.result()
        limit = loaded.max_position_embeddings
        self.engine = Engine(loaded, self.backend, context or min(DEFAULT_CONTEXT, limit))
        self.load_s = perf_counter() - started

    @property
    def kernels(self) -> str:
        """The instruction set (cpu) or arithmetic (reference) in use."""
        return self.backend.kernels

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Key/value pairs of the model's container."""
        return self._source.container.metadata

    @overload
    def generate(
        self, prompt: str, *, stream: Literal[False] = False, **options: Unpack[GenerateOptions]
    ) -> Completion: ...
    @overload
    def generate(
        self, prompt: str, *, stream: Literal[True], **options: Unpack[GenerateOptions]
    ) -> Stream: ...
    def generate(
        self, prompt: str, *, stream: bool = False, **options: Unpack[GenerateOptions]
    ) -> Completion | Stream:
        """Continues raw text; no template is applied. Raises IngleError."""
        if not isinstance(prompt, str):
            raise IngleError("prompt", f"prompt must be text, but got {prompt!r:.60}")
        ids = self.tokenizer.encode(prompt)
        bos = self.tokenizer.bos_id
        if self.tokenizer.add_bos and bos is not None:
            ids = [bos, *ids]
        return self._answer(ids, stream, options)

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        stream: Literal[False] = False,
        **options: Unpack[GenerateOptions],
    ) -> Completion: ...
    @overload
    def chat(
        self, messages: Messages, *, stream: Literal[True], **options: Unpack[GenerateOptions]
    ) -> Stream: ...
    def chat(
        self, messages: Messages, *, stream: bool = False, **options: Unpack[GenerateOptions]
    ) -> Completion | Stream:
        """Answers a conversation (a string is one user message) by the model's chat template.

        Raises IngleError, also when the model brings no template.
        """
        if self._template is None:
            raise IngleError(
                "chat", "model must bring a chat template, but got none", "use --raw / generate()"
            )
        turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return self._answer(render_ids(self.tokenizer, self._template, turns), stream, options)

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits after each token, from an empty context: float32 (len(ids), vocab_size)."""
        return self.engine.logits(ids)

    def close(self) -> None:
        """Frees weights, pages and threads; the object is of no use afterwards."""
        for part in ("engine", "backend", "_source"):
            self.__dict__.pop(part, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def _template(self) -> str | None:
        return self._source.chat_template()

    def _answer(
        self, ids: list[int], stream: bool, options: Mapping[str, Any]
    ) -> Completion | Stream:
        wishes = given(options)
        asked = request(ids, wishes, self._source.recommended, self.tokenizer.eos_ids)
        stops = stop_strings(wishes.get("stop"))
        made = Stream(self.engine, self.tokenizer, asked, stops, self.load_s)
        if stream:
            return made
        for _ in made:
            pass
        return made.completion


def _check_arithmetic(backend: str, emulate: str | None, exact: bool) -> None:
    if emulate is not None and backend != "reference":
        rule = f"emulation needs the backend reference, but got {backend} and {emulate}"
        raise IngleError("emulate", rule)
    if exact and emulate is not None:
        raise IngleError("exact", f"exact arithmetic emulates nothing, but got {emulate}")


def _check_count(name: str, value: int | None) -> None:
    if value is not None and (not isinstance(value, int) or value < 1):
        raise IngleError(name, f"{name} must be a whole number from 1 up, but got {value!r:.60}")
