"""Owns what a person asks of `ingle run`: model, prompt, options, checked before any work.

It does not know how the answer is made or shown.
"""

from __future__ import annotations

import math
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingle import hub
from ingle.cli.wishes import AnswerWishes
from ingle.errors import IngleError
from ingle.ops.kv_type import kv_dtype

_PIPED_BYTES = 16 << 20  # more text than any context holds
_BACKENDS = ("cpu", "reference")


@dataclass(frozen=True)
class Options:
    """The options of `ingle run`, as typed; None leaves the choice to the model."""

    raw: bool
    sampling: dict[str, Any]  # the options of ingle.llm.GenerateOptions, None where not typed
    threads: int | None
    backend: str
    context: int | None
    as_json: bool
    verbose: bool
    exact: bool = False
    system: str | None = None
    reasoning: str | None = None  # see ingle.llm.ChatOptions
    hide_reasoning: bool = False
    at_once: bool = False  # show nothing before the answer is complete
    prompt_file: str | None = None
    resume: bool = False  # the latest saved conversation
    save: bool = True
    pack: bool = True  # large GGUF files, once
    wishes: AnswerWishes = field(default_factory=AnswerWishes)
    capture: str | None = None  # files of `ingle.cli.capture`
    replay: str | None = None
    quantize: str | None = None
    kv_type: str | None = None

    def check(self) -> None:
        """Raise IngleError for the first option whose value cannot be meant."""
        for name, value in {
            **self.sampling,
            "reasoning_budget": self.wishes.reasoning_budget,
            "max_turns": self.wishes.max_turns,
            "threads": self.threads,
            "context": self.context,
        }.items():
            check_value(name, value, _OPTIONS.get(name) or "--" + name.replace("_", "-"))
        if self.backend not in _BACKENDS:
            rule = f"the backend must be {' or '.join(_BACKENDS)}, but got {self.backend}"
            hint = "leave it out for the fastest here: GPUs are still to come"
            raise IngleError("--backend", rule, hint)
        if self.kv_type is not None:
            kv_dtype(self.kv_type, "--kv-type")
        if self.sampling["logprobs"] is not None and not self.as_json:
            rule = "log-probabilities are shown as JSON alone, but got no --json"
            raise IngleError("--logprobs", rule, "add --json")
        _check_preset(self.sampling["preset"], "--preset")
        self._check_chat()
        self.wishes.check(self.raw)

    def _check_chat(self) -> None:
        """Raise IngleError where text that is continued as it is gets what only a chat has."""
        if self.reasoning is not None:
            check_reasoning(self.reasoning, "--reasoning")
        chat_alone = {
            "--system": self.system is not None,
            "--reasoning": self.reasoning is not None,
            "--continue": self.resume,
        }
        for option, is_set in chat_alone.items():
            if self.raw and is_set:
                rule = "raw text has no place for it, but got both this option and --raw"
                raise IngleError(option, rule, "leave one of them out")
        if self.system is not None:
            _check_utf8(self.system, "--system")


_RANGES: dict[str, tuple[float, float, str]] = {
    "temperature": (0.0, 100.0, "the temperature must be a number from 0 to 100"),
    "top_p": (math.nextafter(0, 1), 1.0, "the share must be above 0 and at most 1"),
    "top_k": (0, math.inf, "the count must be at least 0, which takes all"),
    "min_p": (0.0, 1.0, "the share must be from 0 to 1"),
    "typical_p": (math.nextafter(0, 1), 1.0, "the share must be above 0 and at most 1"),
    "repetition_penalty": (0.01, 100.0, "the penalty must be from 0.01 to 100; 1 is none"),
    "presence_penalty": (-2.0, 2.0, "the penalty must be from -2 to 2"),
    "frequency_penalty": (-2.0, 2.0, "the penalty must be from -2 to 2"),
    "logprobs": (0, 20, "the count must be from 0 to 20"),
    "num_experts_per_tok": (1, math.inf, "the count must be at least 1"),
    "reasoning_budget": (0, math.inf, "the count must be at least 0, which skips reasoning"),
    "max_turns": (1, math.inf, "the count must be at least 1"),
    "max_tokens": (1, math.inf, "the count must be at least 1"),
    "seed": (0, 2**64 - 1, "the seed must be from 0 to 2^64 - 1"),
    "threads": (1, 1024, "the count must be from 1 to 1024"),
    "context": (1, math.inf, "the count must be at least 1"),
}
_LEFT_OUT: Mapping[str, str] = {  # what holds without the option, where no maker recommends it
    "logprobs": "leave it out: there are none then",
    "max_tokens": "leave it out: the answer ends where the model ends it",
    "threads": "leave it out: every usable core computes",
    "context": "leave it out: it is 4096, or what the model has been made for if that is less",
    "seed": "leave it out: each answer is another",
}
_OPTIONS = {"num_experts_per_tok": "--experts"}  # where the option has another name
_PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")
_FLOATS = ("temperature", "top_p", "min_p", "typical_p", *_PENALTIES)
_IN_A_CHAT = (*_FLOATS, "top_k", "seed", "max_tokens", "num_experts_per_tok", "preset")
_OTHER_NAMES: Mapping[str, str] = {
    "experts": "num_experts_per_tok",
    "num_predict": "max_tokens",
    "repeat_penalty": "repetition_penalty",
}


def check_value(name: str, value: Any, where: str) -> None:
    """Raise IngleError, told of `where`, if an option of that name cannot have that value."""
    if value is None or name not in _RANGES:
        return
    low, high, rule = _RANGES[name]
    if not low <= value <= high:  # NaN fails too
        hint = _LEFT_OUT.get(name, "leave it out: what the model's makers recommend holds")
        hint = f"{where} alone takes it back" if where.startswith("/set") else hint
        raise IngleError(where, f"{rule}, but got {value}", hint)


def check_reasoning(level: str, where: str) -> None:
    """Raise IngleError unless `level` is one that some model takes."""
    levels = ("on", "off", "none", "low", "medium", "high")
    if level not in levels:
        rule = f"the level must be one of {', '.join(levels)}, but got {level!r:.60}"
        raise IngleError(where, rule, "the level comes first, and then the prompt")


def read_parameter(name: str, text: str) -> tuple[str, Any]:
    """A sampling option as set in a chat, by ingle's own name, and its value; "" gives None.

    >>> read_parameter("num_predict", "12")
    ('max_tokens', 12)
    """
    where, own = f"/set {name}", _OTHER_NAMES.get(name, name).replace("-", "_")
    if own not in _IN_A_CHAT:
        rule = f"a parameter must be one of {', '.join(_IN_A_CHAT)}, but got {name!r:.60}"
        ours = name in ("num_ctx", "context")
        hint = "--context is said when ingle starts" if ours else "/help shows what can be set"
        raise IngleError("/set", rule, hint)
    if not text:
        return own, None
    if own == "preset":
        _check_preset(text, where)
        return own, text
    kind: type[float] | type[int] = float if own in _FLOATS else int
    try:
        value = kind(text)
    except ValueError:
        rule = f"the value must be a {'number' if kind is float else 'whole number'}"
        hint = f"for example: {where} {'0.5' if kind is float else '40'}"
        raise IngleError(where, f"{rule}, but got {text!r:.60}", hint) from None
    check_value(own, value, where)
    return own, value


def split_words(words: Sequence[str]) -> tuple[str | None, str | None]:
    """The model and the prompt, None where the words of the command line name none."""
    if not words:
        return None, None
    first, *rest = words
    if hub.is_model_word(first):
        return first, " ".join(rest) if rest else None
    if rest:
        raise IngleError(
            "MODEL",
            f"the first of several words must name a model, but got {first!r}",
            "put quotes around a prompt of several words; `ingle list` shows the models",
        )
    return None, first


def whole_prompt(typed: str | None, options: Options) -> str | None:
    """The prompt as typed, from -f and as piped in, joined by blank lines; None asks for a chat.

    With `raw` and nothing typed, the text of a single source is kept to the byte, its last newline
    included.
    """
    texts = [text for text in (_file_text(options.prompt_file), _piped_text()) if text is not None]
    if not (options.raw and typed is None and len(texts) == 1):
        texts = [text.strip() for text in texts]
    parts = texts if typed is None else [typed, *texts]
    if not parts and sys.stdin is not None and sys.stdin.isatty():
        return None
    prompt = "\n\n".join(part for part in parts if part)
    if not prompt.strip() and not (options.raw and prompt):
        raise IngleError(
            "PROMPT", "a prompt must hold text, but got none", "name it, or pipe it in"
        )
    _check_utf8(prompt, "PROMPT")
    return prompt


def _check_utf8(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        what = "a prompt" if where == "PROMPT" else "the text"
        rule = f"{what} must be UTF-8, but got other bytes"
        raise IngleError(where, rule, "a terminal set to UTF-8 types it") from None


def _check_preset(name: str | None, where: str) -> None:
    if name is None:
        return
    from ingle.runtime.presets import PRESETS

    if name not in PRESETS:
        rule = f"the preset must be one of {', '.join(PRESETS)}, but got {name!r:.60}"
        raise IngleError(where, rule, "creative is warm, precise is cold, code lies between")


def _file_text(name: str | None) -> str | None:
    """The text of the file that -f names. Raises IngleError if it cannot be had."""
    if name is None:
        return None
    try:
        with Path(name).expanduser().open("rb") as file:
            return _decoded(file.read(_PIPED_BYTES + 1), name)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, IngleError):
            raise
        said = getattr(error, "strerror", None) or error
        raise IngleError(
            "-f", f"the file must be readable, but got {name!r:.60}: {said}", "check the path"
        ) from None


def _piped_text() -> str | None:
    """What stands in the pipe or file that is stdin; None for a terminal or a device."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # no stdin, or one that is closed
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return None
    return _decoded(sys.stdin.buffer.read(_PIPED_BYTES + 1), "stdin")


def _decoded(data: bytes, where: str) -> str:
    what = "piped text" if where == "stdin" else "a prompt's file"
    if len(data) > _PIPED_BYTES:
        rule = f"{what} must have at most {_PIPED_BYTES >> 20} MiB, but got more"
        raise IngleError(where, rule, "no context holds as much: send a part of it")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        rule = f"{what} must be UTF-8, but got another byte at offset {error.start}"
        raise IngleError(where, rule, "convert it, for example with iconv") from None
