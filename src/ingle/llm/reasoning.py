"""Owns reasoning as text: asking a chat template for it, and telling it from the answer.

Reasoning stands between ``<think>`` and ``</think>`` (Qwen3 and its kin). It does not know
Harmony, whose channels are tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ingle.errors import IngleError, UnsupportedError

LEVELS = ("low", "medium", "high")
SWITCHES = ("on", "off")
_WHERE = "reasoning"
_BEGIN, _END = "<think>", "</think>"
_OURS = ("messages", "add_generation_prompt", "bos_token", "eos_token")


def template_variables(
    template: str, reasoning: str | bool | None, others: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a chat template is to be given for a wish of reasoning, and `others` by name.

    reasoning: "low", "medium" or "high" for templates that name `reasoning_effort` (gpt-oss);
    True/"on" or False/"off"/"none" for those that name `enable_thinking` (Qwen3), which any level
    turns on. A template without any reasoning is off as it is. Raises UnsupportedError where the
    template takes no such thing, IngleError for what it never names.

    >>> template_variables("{{ reasoning_effort }}", "low")
    {'reasoning_effort': 'low'}
    >>> template_variables("{% if enable_thinking %}", False)
    {'enable_thinking': False}
    """
    found = dict(_checked(template, others or {}))
    if reasoning is None:
        return found
    wish = SWITCHES[not reasoning] if isinstance(reasoning, bool) else reasoning
    wish = "off" if wish == "none" else wish
    if wish not in (*LEVELS, *SWITCHES):
        rule = f"it must be {', '.join(SWITCHES)}, {', '.join(LEVELS)}, but got {reasoning!r:.60}"
        raise IngleError(_WHERE, rule)
    levels, switch = _names(template, "reasoning_effort"), _names(template, "enable_thinking")
    if wish in LEVELS and levels:
        return found | {"reasoning_effort": wish}
    if switch:
        return found | {"enable_thinking": wish != "off"}
    if wish == "on" and levels:  # it always reasons
        return found
    if wish == "off" and not levels and _BEGIN not in template:  # it never does
        return found
    raise _refusal(wish, levels, switch)


class Part(NamedTuple):
    """A piece of text and whether it is reasoning."""

    text: str
    is_reasoning: bool


class ReasoningSplitter:
    """Tells pieces of reasoning from pieces of the answer, wherever the pieces are cut.

    inside: the prompt itself opened the reasoning. Only what the answer begins with counts: a
    ``<think>`` further down is text. Blank lines around the reasoning are dropped.
    """

    def __init__(self, inside: bool = False) -> None:
        self._held = ""
        self._state = "inside" if inside else "before"
        self._at_start = True  # of the reasoning, or of the answer after it

    @property
    def inside(self) -> bool:
        """Whether what comes next is reasoning, as far as is known."""
        return self._state == "inside"

    def feed(self, piece: str) -> list[Part]:
        """The parts that are now certain."""
        self._held += piece
        parts: list[Part] = []
        if self._state == "before":
            self._open()
        if self._state == "inside":
            parts += self._reasoning()
        if self._state == "after":
            parts += self._take(self._held, False)
            self._held = ""
        return parts

    def finish(self) -> list[Part]:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return (
            self._take(held, True) if self._state == "inside" else [Part(held, False)][: len(held)]
        )

    def _open(self) -> None:
        text = self._held.lstrip()
        if text.startswith(_BEGIN):
            self._held, self._state = text.removeprefix(_BEGIN), "inside"
        elif not _BEGIN.startswith(text):
            self._state, self._at_start = "after", False

    def _reasoning(self) -> list[Part]:
        text, end, rest = self._held.partition(_END)
        if end:
            self._held, self._state = rest, "after"
            parts = self._take(text.rstrip(), True)
            self._at_start = True
            return parts
        keep = _held_back(text)
        self._held = text[len(text) - keep :]
        return self._take(text[: len(text) - keep], True)

    def _take(self, text: str, is_reasoning: bool) -> list[Part]:
        text = text.lstrip() if self._at_start else text
        self._at_start = self._at_start and not text
        return [Part(text, is_reasoning)] if text else []


def split_reasoning(text: str, inside: bool = False) -> tuple[str, str]:
    """The reasoning and the answer in a finished text.

    >>> split_reasoning("<think>\\nHm, 2.\\n</think>\\n\\nTwo.")
    ('Hm, 2.', 'Two.')
    """
    splitter = ReasoningSplitter(inside)
    parts = [*splitter.feed(text), *splitter.finish()]
    reasoning, answer = (
        "".join(p.text for p in parts if p.is_reasoning is k) for k in (True, False)
    )
    return reasoning.rstrip(), answer


def opens_reasoning(prompt_end: str) -> bool:
    """Whether a prompt that ends so leaves the model inside its reasoning."""
    return prompt_end.rstrip().endswith(_BEGIN)


def _held_back(text: str) -> int:
    """Length of the end of `text` that may be blank space before, or the start of, ``</think>``."""
    begun = next((n for n in range(len(_END) - 1, 0, -1) if text.endswith(_END[:n])), 0)
    before = text[: len(text) - begun]
    return begun + len(before) - len(before.rstrip())


def _checked(template: str, others: Mapping[str, Any]) -> Mapping[str, Any]:
    where = "chat_template_kwargs"
    if not isinstance(others, Mapping):
        raise IngleError(where, f"it must be an object of names and values, but got {others!r:.60}")
    for name in others:
        if not isinstance(name, str) or name in _OURS or not _names(template, name):
            rule = f"a variable must be one that the chat template names, but got {name!r:.60}"
            raise IngleError(where, rule)
    return others


def _names(template: str, variable: str) -> bool:
    return re.search(rf"\b{re.escape(variable)}\b", template) is not None


def _refusal(wish: str, levels: bool, switch: bool) -> UnsupportedError:
    rule = f"the chat template must take it, but got {wish}"
    if levels:
        return UnsupportedError(_WHERE, rule, f"this model takes {', '.join(LEVELS)}")
    if switch:
        return UnsupportedError(_WHERE, rule, f"this model takes {' or '.join(SWITCHES)}")
    return UnsupportedError(_WHERE, rule, "leave it out: this model has no setting for reasoning")
