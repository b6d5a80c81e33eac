"""`ingle` with a model that follows a script: ``python scripted_llm.py run "a prompt"``.

Stands in for `ingle.llm` so that tests see the command line alone. It answers `You said: <prompt>`
in pieces of one word, and the words below are its script. What it was asked is written, one JSON
object a call, to the file named by SCRIPTED_LLM_CALLS.
"""

from __future__ import annotations

import json
import os
import sys
import time
import types
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ingle
from ingle.cli.main import main
from ingle.errors import IngleError
from ingle.llm.reasoning import Part, ReasoningSplitter, split_reasoning


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class Timings:
    load_s: float = 0.25
    prompt_s: float = 0.5
    decode_s: float = 2.0
    first_token_s: float = 0.625
    prompt_tokens_per_s: float = 8.0
    decode_tokens_per_s: float = float("inf")


@dataclass(frozen=True)
class TokenLogprob:
    token_id: int
    text: str
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Completion:
    text: str
    token_ids: list[int]
    finish_reason: str
    usage: Usage
    timings: Timings
    logprobs: list[TokenLogprob] | None = None
    answer: str = ""
    reasoning: str = ""
    tool_calls: tuple[Any, ...] = ()
    repairs: dict[str, int] = field(default_factory=dict)
    constraint_cost: None = None


class Stream:
    """As ingle.llm's: an iterator that cannot be cancelled from within its own next piece."""

    def __init__(
        self, words: list[str], finish_reason: str, pause_s: float, logprobs: int | None = None
    ) -> None:
        self.completion: Completion
        self.opens_in_reasoning = False
        self._logprobs = logprobs
        self._said = ""
        self._pieces = self._run(words, finish_reason, pause_s)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def parts(self) -> Iterator[Part]:
        splitter = ReasoningSplitter(self.opens_in_reasoning)
        for piece in self:
            yield from splitter.feed(piece)
        yield from splitter.finish()

    def whole(self) -> Completion:
        for _ in self:
            pass
        return self.completion

    def cancel(self) -> None:
        self._pieces.close()
        self._finish("cancelled")
        note({"cancelled": True})

    def _run(self, words: list[str], finish: str, pause_s: float) -> Generator[str, None, None]:
        for word in words:
            time.sleep(pause_s)
            self._said += word
            yield word
        self._finish(finish)

    def _finish(self, reason: str) -> None:
        count = len(self._said.split())
        usage = Usage(4, count, 4 + count, cached_tokens=1)
        reasoning, answer = split_reasoning(self._said, self.opens_in_reasoning)
        told = self._told(count)
        self.completion = Completion(
            self._said, [7] * count, reason, usage, Timings(), told, answer, reasoning
        )

    def _told(self, count: int) -> list[TokenLogprob] | None:
        if self._logprobs is None:
            return None
        top = (TokenLogprob(8, "ü", -0.5), TokenLogprob(9, "b", float("-inf")))[: self._logprobs]
        return [TokenLogprob(7, "a", -1.5, top)] * count


class LLM:
    kernels = "scripted"
    chat_template = "scripted template"
    context_tokens = 8
    system = None

    def __init__(self, model: str | Path, **settings: Any) -> None:
        note({"model": str(model), **settings})

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        note({"closed": True})

    def generate(self, prompt: str, **settings: Any) -> Completion | Stream:
        note({"generate": prompt, **settings})
        return self._answer(prompt, settings)

    def chat(self, messages: str | list[dict[str, str]], **settings: Any) -> Completion | Stream:
        note({"chat": messages, **settings})
        prompt = messages if isinstance(messages, str) else messages[-1]["content"]
        return self._answer(prompt, settings)

    def _answer(self, prompt: str, settings: dict[str, Any]) -> Completion | Stream:
        if prompt == "script: mistake":
            raise IngleError("context", "the prompt must fit, but got more", "ask for less")
        if prompt == "script: bug":
            raise KeyError("a bug\nof two lines")
        if prompt == "script: memory":
            raise MemoryError
        words = f"You said: {prompt}".split(" ")
        if prompt.startswith("script: think"):
            words = ["<think>\nHm,", "let", "me</thi", "see.\n</think>\n\nIt", "is", "two."]
        pieces = [words[0], *(" " + word for word in words[1:])]
        if prompt.startswith("script: long"):
            pieces *= 10_000
        pieces = pieces[:3] if prompt.startswith("script: max") else pieces
        finish = "length" if prompt.startswith(("script: cut", "script: max")) else "stop"
        pause_s = 0.01 if prompt == "script: long, slow" else 0
        stream = Stream(pieces, finish, pause_s, settings["logprobs"])
        if settings["stream"]:
            return stream
        for _ in stream:
            pass
        return stream.completion


def note(call: dict[str, Any]) -> None:
    with Path(os.environ["SCRIPTED_LLM_CALLS"]).open("a") as calls:
        calls.write(json.dumps(call) + "\n")


if __name__ == "__main__":
    module = types.ModuleType("ingle.llm")
    module.__path__ = [str(Path(ingle.__file__).parent / "llm")]  # files beside LLM are real
    module.LLM = LLM  # type: ignore[attr-defined]
    sys.modules["ingle.llm"] = module
    main()
