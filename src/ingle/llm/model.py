"""Owns `LLM`: a model opened and ready, asked with text or a conversation."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from ingle import __version__, hub
from ingle.backends import make_backend
from ingle.chat.message import Message
from ingle.errors import IngleError
from ingle.llm.async_stream import AsyncStream, witness
from ingle.llm.chat import Chat
from ingle.llm.completion import Completion
from ingle.llm.constraint import answer_format, held_to
from ingle.llm.dialect import Dialect, Prepared, TemplateDialect
from ingle.llm.feed import EngineFeed, Feed, Items, WorkerFeed
from ingle.llm.harmony_dialect import HarmonyDialect, speaks_harmony
from ingle.llm.named import named
from ingle.llm.opening import allowed, check_arithmetic, check_counts
from ingle.llm.options import ChatOptions, GenerateOptions, given, given_chat, request
from ingle.llm.prompt import check_length, check_no_stream, checked_ids, turn_ids
from ingle.llm.reader import Reader, TextReader
from ingle.llm.settings import OtherSettings, check_placement, renamed
from ingle.llm.source import Source
from ingle.llm.stop import stop_strings
from ingle.llm.stored import check_stored, wanted
from ingle.llm.stream import Stream
from ingle.llm.tool_loop import ToolLoop
from ingle.models import load_model
from ingle.ops import USUAL_KV_TYPE, TokenConstraint
from ingle.runtime import Engine, EngineLoop, Meter, PrefixStore, Terms, common_prefix, fingerprint
from ingle.tokenizer import Tokenizer

DEFAULT_CONTEXT = 4096
_AWAITED = Terms(buffer=64)  # tokens that the engine may be ahead of who awaits them
_TOOL_THREADS = 8

Messages = str | Sequence[Message | Mapping[str, Any]]


class LLM:
    """A model ready to answer.

    model: a known name ("smollm2:135m"), or the path of a GGUF file, a safetensors file, or a
    folder of them in Hugging Face's or OpenAI's layout.
    backend: "cpu" (native kernels) or "reference" (numpy); with the latter, emulate="q8" repeats
    the native arithmetic. exact: keep activations in float32 on "cpu", slower than in 8 bits,
    and rounded only where an INT8 file asks for it.
    kv_type: what keys and values are kept as, "f16" or "f32"; default "f16", exact and "reference"
    alone "f32".
    threads: default all usable cores. context: tokens, default 4096 or the model's own limit; for
    both, what the model's name brings (a Modelfile) and `ingle config` says comes first.
    num_experts_per_tok: for every request that does not say otherwise; default the model's own.
    chat_template: Jinja that takes the place of the model's own.
    quantization: what the file must be stored as ("mxfp4", "q4_k_m"); nothing is converted.
    packed: run the packed copy of a GGUF file, if `ingle run` or `ingle pack` made one.
    memory ("8GiB", bytes), max_memory ({"cpu": "8GiB"}): the most that may be used; a model whose
    plan needs more is refused before it is loaded. device_map and `others`: as users of
    transformers and vLLM write them; see `OtherSettings`. What this build cannot do is refused.
    Raises IngleError for what cannot be found, read or run.

    parallel: full contexts that memory is taken for; prefix_cache: bytes beyond that, for prompts
    that begin as earlier ones did.

    Answers asked for at once (async, or from several threads) are computed together, as far as
    their contexts fit; streams read alternately take turns. Each says what it would say alone.
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
        kv_type: str | None = None,
        num_experts_per_tok: int | None = None,
        chat_template: str | None = None,
        quantization: str | None = None,
        memory: str | int | None = None,
        max_memory: Mapping[Any, str | int] | None = None,
        packed: bool = True,
        parallel: int = 1,
        prefix_cache: int = 0,
        device_map: str | Mapping[str, Any] | None = None,
        **others: Unpack[OtherSettings],
    ) -> None:
        started = perf_counter()
        own = renamed({"context": context, "threads": threads}, others)
        check_placement(device_map)
        limit = allowed(memory, max_memory, backend)
        wish = wanted(quantization, others)
        check_arithmetic(backend, emulate, exact, kv_type)
        check_counts(**own, parallel=parallel, num_experts_per_tok=num_experts_per_tok)
        self.path = hub.resolve(model)
        self._named = named(hub.settings(str(model)))
        context = own["context"] or self._named.context
        threads = own["threads"] or self._named.threads
        self._source = Source(self.path, packed=packed and backend == "cpu")
        self._given_template = chat_template or self._named.template
        check_stored(wish, self._source)
        if limit is not None:
            from ingle.llm.allowance import check_fits  # here, as in `allowed`

            kept_as = kv_type or ("f32" if exact else USUAL_KV_TYPE)
            check_fits(limit, self.path, context, DEFAULT_CONTEXT, kept_as)
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
        self._source.container.release()  # what backends copied need not stay mapped in too
        context = context or min(DEFAULT_CONTEXT, loaded.max_position_embeddings)
        self.engine = Engine(loaded, self.backend, context, parallel, prefix_cache, kv_type=kv_type)
        self.engine.turn_ids = turn_ids(self.tokenizer)
        self._arithmetic = (backend, emulate, exact, self.kv_type, num_experts_per_tok, __version__)
        self._prefixes: PrefixStore | None = None
        self._meter: Meter | None = None
        self._running: WeakSet[AsyncStream] = WeakSet()
        self.load_s = perf_counter() - started

    @property
    def kernels(self) -> str:
        """The instruction set (cpu) or arithmetic (reference) in use."""
        return self.backend.kernels

    @property
    def kv_type(self) -> str:
        """What keys and values are kept as: "f16" or "f32"."""
        return self.engine.store.kv_type

    @property
    def system(self) -> str | None:
        """The system message that the model's name brings (Modelfile's SYSTEM); `chat` adds none.

        A chat program that wants it puts it before the messages.
        """
        return self._named.system

    @property
    def context_tokens(self) -> int:
        """Tokens that a prompt and its answer have room for together."""
        return self.engine.context_tokens

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
    @overload
    def generate(
        self,
        prompt: list[str] | tuple[str, ...],
        *,
        stream: Literal[False] = False,
        **options: Unpack[GenerateOptions],
    ) -> list[Completion]: ...
    def generate(
        self,
        prompt: str | list[str] | tuple[str, ...],
        *,
        stream: bool = False,
        **options: Unpack[GenerateOptions],
    ) -> Completion | Stream | list[Completion]:
        """Continues raw text; no template is applied. Several prompts are answered in order.

        All prompts are checked before the first is answered. Raises IngleError.
        """
        made = self._continuations(prompt, options)
        if isinstance(prompt, str):
            return made[0] if stream else made[0].whole()
        check_no_stream(stream)
        return [one.whole() for one in made]

    @overload
    def chat(
        self, messages: Messages, *, stream: Literal[False] = False, **options: Unpack[ChatOptions]
    ) -> Completion: ...
    @overload
    def chat(
        self, messages: Messages, *, stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> Stream | ToolLoop: ...
    def chat(
        self, messages: Messages, *, stream: bool = False, **options: Unpack[ChatOptions]
    ) -> Completion | Stream | ToolLoop:
        """Answers a conversation (a string is one user message) by the model's chat template.

        With tools, calls are made and answered until the model has its answer; see `ChatOptions`.
        Raises IngleError, also when the model brings no template.
        """
        made = self._reply(messages, options)
        return made if stream else made.whole()

    @overload
    async def agenerate(
        self, prompt: str, *, stream: Literal[False] = False, **options: Unpack[GenerateOptions]
    ) -> Completion: ...
    @overload
    async def agenerate(
        self, prompt: str, *, stream: Literal[True], **options: Unpack[GenerateOptions]
    ) -> AsyncStream: ...
    @overload
    async def agenerate(
        self,
        prompt: list[str] | tuple[str, ...],
        *,
        stream: Literal[False] = False,
        **options: Unpack[GenerateOptions],
    ) -> list[Completion]: ...
    async def agenerate(
        self,
        prompt: str | list[str] | tuple[str, ...],
        *,
        stream: bool = False,
        **options: Unpack[GenerateOptions],
    ) -> Completion | AsyncStream | list[Completion]:
        """`generate` for an event loop, which stays free; calls wait for one another."""
        made = self._continuations(prompt, options)
        if isinstance(prompt, str):
            awaited = self._awaited(made[0])
            return awaited if stream else await awaited.whole()
        check_no_stream(stream)
        return [await self._awaited(one).whole() for one in made]

    @overload
    async def achat(
        self, messages: Messages, *, stream: Literal[False] = False, **options: Unpack[ChatOptions]
    ) -> Completion: ...
    @overload
    async def achat(
        self, messages: Messages, *, stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> AsyncStream: ...
    async def achat(
        self, messages: Messages, *, stream: bool = False, **options: Unpack[ChatOptions]
    ) -> Completion | AsyncStream:
        """`chat` for an event loop, which stays free; calls wait for one another."""
        awaited = self._awaited(self._reply(messages, options))
        return awaited if stream else await awaited.whole()

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits after each token, from an empty context: float32 (len(ids), vocab_size)."""
        return self.engine.logits(ids)

    def close(self) -> None:
        """Frees weights, pages and threads; the object is of no use afterwards."""
        for stream in list(self._running):
            stream.cancel()
        loop, worker = (self.__dict__.pop(name, None) for name in ("_loop", "_worker"))
        if loop is not None:
            loop.close()
        if worker is not None:
            worker.shutdown()
        if self._prefixes is not None:
            self._prefixes.close()
            self._prefixes = None
        for part in ("engine", "backend", "_source"):
            self.__dict__.pop(part, None)

    def __getattr__(self, name: str) -> Any:
        if name in ("engine", "backend", "_source", "_loop", "_worker"):
            raise IngleError("LLM", "model must be open, but it was closed", "load it again")
        raise AttributeError(f"LLM has no attribute {name!r}")

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
    def chat_template(self) -> str | None:
        """The Jinja chat template in force: the one given, else the model's, if it brings any."""
        return self._given_template or self._source.chat_template()

    @cached_property
    def _loop(self) -> EngineLoop:
        """The one thread on which awaited answers are computed, together."""
        return EngineLoop(self.engine, self._meter)

    @cached_property
    def _worker(self) -> ThreadPoolExecutor:
        """Threads on which awaited chats wait for their tools."""
        return ThreadPoolExecutor(_TOOL_THREADS, "ingle-llm")

    def awaited_reply(
        self, messages: Messages, options: Mapping[str, Any], terms: Terms
    ) -> AsyncStream:
        """`achat` for servers: a stream on terms of its own. Raises IngleError, BusyError.

        Calls are not made, and their ids are like no others.
        """
        made = self._chat(messages, options, f"call_{secrets.token_hex(8)}_").reply()
        return self._awaited(made.reply if isinstance(made, ToolLoop) else made, terms)

    def awaited_continuation(
        self, prompt: str | Sequence[int], options: Mapping[str, Any], terms: Terms
    ) -> AsyncStream:
        """`agenerate` for servers. prompt: text, or ids (see `encode`) that are taken as they are.

        Raises IngleError, BusyError.
        """
        (made,) = self._continuations([prompt], options)
        return self._awaited(made, terms)

    def encode(self, text: str, with_specials: bool = False, begin: bool = False) -> list[int]:
        """Ids of a text. with_specials: the texts of special tokens are these tokens.

        begin: after the model's beginning token, if it wants one and the text does not have it.
        """
        ids = (self.tokenizer.encode_with_specials if with_specials else self.tokenizer.encode)(
            text
        )
        bos = self.tokenizer.bos_id
        wants_bos = begin and self.tokenizer.add_bos and bos is not None and ids[:1] != [bos]
        return [bos, *ids] if wants_bos and bos is not None else ids

    def tokenizer_facts(self) -> dict[str, str | None]:
        """Texts of the tokens that begin and end, and the chat template; None for what is not."""
        made = self.tokenizer
        begin, end = (None if i is None else made.decode([i]) for i in (made.bos_id, made.eos_id))
        return {"bos_token": begin, "eos_token": end, "chat_template": self.chat_template}

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens written out. Raises IngleError for ids that are none."""
        return self.tokenizer.decode(ids)

    def count_prompt(self, messages: Messages, options: Mapping[str, Any]) -> int:
        """Tokens of the prompt that `chat` would answer, though it be too long."""
        return len(self.prompt_ids(messages, options))

    def prompt_ids(self, messages: Messages, options: Mapping[str, Any]) -> list[int]:
        """Ids of the prompt that `chat` would answer, though it be too long."""
        return self._chat(messages, options).prompt()

    def warm_history(
        self, messages: Sequence[Message | Mapping[str, Any]], options: Mapping[str, Any]
    ) -> None:
        """Computes what the next turn of a chat will begin with, once nothing else is to be done.

        The prompt of a next turn is what two of them begin with, whatever the chat's format drops.
        """
        try:
            made = [
                self._reply([*messages, {"role": "user", "content": text}], options)
                for text in ("1", "2")
            ]
        except IngleError:  # the history has no room for another turn
            return
        one, other = ((m.reply if isinstance(m, ToolLoop) else m).request.prompt_ids for m in made)
        ids = one[: common_prefix(one, other)]
        if ids:
            self._loop.warm(list(ids))

    def keep_prefixes(self, folder: Path, limit_bytes: int) -> None:
        """Keeps what prompts began with on disk too, across restarts. Raises IngleError."""
        opened = self._source.container.path
        files = [opened] if opened.is_file() else sorted(opened.glob("*.safetensors"))
        settings = (self.backend.name, self._arithmetic, self.engine.store.layout.groups)
        self._prefixes = PrefixStore(folder, limit_bytes, fingerprint(files, settings))
        self.engine.keep_prefixes(self._prefixes)

    def measure(self, meter: Meter) -> None:
        """Has `meter` told what is computed for those who await; before the first of them."""
        self._meter = meter

    def cut_short(self) -> None:
        """Ends every answer that is awaited; who awaits it gets a `ClosingError`."""
        if "_loop" in self.__dict__:
            self._loop.cut_short()

    def status(self) -> Mapping[str, Any]:
        """What is running, waiting and kept."""
        disk = {} if self._prefixes is None else {"prefix_disk_bytes": self._prefixes.nbytes}
        return {**self.engine.status(), **disk, "kernels": self.kernels, "load_s": self.load_s}

    def _awaited(self, stream: Stream | ToolLoop, terms: Terms = _AWAITED) -> AsyncStream:
        def feed(items: Items) -> Feed:
            if isinstance(stream, Stream):
                return EngineFeed(stream, items, self._loop, terms)
            return WorkerFeed(stream, items, self._worker)

        made = AsyncStream(stream, feed)
        self._running.add(made)
        tell = witness.get()
        if tell is not None:
            tell(made)
        return made

    def _continuations(self, prompt: Any, options: Mapping[str, Any]) -> list[Stream]:
        """One stream for each prompt, each of them checked."""
        prompts = list(prompt) if isinstance(prompt, list | tuple) else [prompt]
        wishes = given(options)
        wish = answer_format(wishes.get("format"))
        stops = stop_strings(self._options(wishes).get("stop"))
        return [
            self._stream(
                self.encode(text, begin=True) if isinstance(text, str) else checked_ids(text),
                wishes,
                TextReader(self.tokenizer, stops),
                held_to(self.tokenizer, wish),
            )
            for text in prompts
        ]

    def _reply(self, messages: Messages, options: Mapping[str, Any]) -> Stream | ToolLoop:
        return self._chat(messages, options).reply()

    def _chat(
        self, messages: Messages, options: Mapping[str, Any], id_prefix: str = "call_"
    ) -> Chat:
        turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        wishes, own = given_chat(options)

        def start(ready: Prepared) -> Stream:
            return self._stream(ready.ids, wishes, ready.reader, ready.constraint)

        dialect = self._dialect_of(own.get("chat_template"))
        return Chat(dialect, turns, own, self._options(wishes), start, id_prefix)

    def _dialect_of(self, template: Any) -> Dialect:
        """How a conversation is held. Raises IngleError where there is no way to.

        gpt-oss speaks Harmony, whatever template it brings; a template given for this conversation
        or to LLM comes first.
        """
        if template is not None:
            if not isinstance(template, str):
                rule = f"it must be Jinja, but got {template!r:.60}"
                raise IngleError("chat_template", rule)
            return TemplateDialect(self.tokenizer, template)
        if self._given_template is None and self._harmony is not None:
            return self._harmony
        if self.chat_template is None:
            raise IngleError(
                "chat", "model must bring a chat template, but got none", "use --raw / generate()"
            )
        return TemplateDialect(self.tokenizer, self.chat_template)

    @cached_property
    def _harmony(self) -> HarmonyDialect | None:
        """Harmony, where the model is one of gpt-oss."""
        architecture, template = self._source.facts.architecture, self._source.chat_template()
        is_it = speaks_harmony(architecture, template, self.tokenizer)
        return HarmonyDialect() if is_it else None

    def _options(self, wishes: Mapping[str, Any]) -> dict[str, Any]:
        """The options in force: those given, else those that the model's name brings."""
        return {**self._named.options, **wishes}

    def _stream(
        self,
        ids: list[int],
        wishes: Mapping[str, Any],
        reader: Reader,
        constraint: TokenConstraint | None,
    ) -> Stream:
        usual = {**self._source.recommended, **self._named.sampling}
        wishes = self._options(wishes)
        asked = request(ids, wishes, usual, self.tokenizer.eos_ids, constraint)
        most = self.engine.model.max_position_embeddings
        check_length(len(ids), self.context_tokens, most)
        self.engine.check(asked)
        return Stream(self.engine, self.tokenizer, asked, reader, self.load_s)
