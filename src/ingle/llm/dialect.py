"""Owns `Dialect`: how a conversation becomes a prompt, and how the reply to it is read and held.

`TemplateDialect` is that of models with a Jinja chat template. It does not know engines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ingle.chat.message import Message
from ingle.chat.template import render_ids
from ingle.errors import UnsupportedError
from ingle.llm.constraint import template_constraint
from ingle.llm.reader import Reader, TextReader
from ingle.llm.reasoning import opens_reasoning, template_variables
from ingle.tokenizer import Tokenizer

if TYPE_CHECKING:  # with formats and tools alone: their libraries load slowly
    from ingle.chat.answer_format import AnswerFormat
    from ingle.chat.tools import ToolChoice
    from ingle.chat.tools.written import CallScanner
    from ingle.ops import TokenConstraint

Turns = Sequence[Message | Mapping[str, Any]]


@dataclass(frozen=True)
class Wishes:
    """What a chat asks for besides its messages; see `ChatOptions`.

    choice: None where there are no tools at all. num_calls: how many were made in this chat.
    id_prefix: what the ids of calls begin with, before their number.
    """

    reasoning: str | bool | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    budget: int | None = None
    choice: ToolChoice | None = None
    format: AnswerFormat | None = None
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    num_calls: int = 0
    id_prefix: str = "call_"


@dataclass(frozen=True)
class Prepared:
    """A prompt, and what to do with the reply to it. opens_in_reasoning: see `Stream`."""

    ids: list[int]
    reader: Reader
    constraint: TokenConstraint | None = None
    opens_in_reasoning: bool = False


class Dialect(Protocol):
    """A model's way of holding a conversation."""

    def prepare(self, turns: Turns, wishes: Wishes) -> Prepared:
        """The prompt for the next reply. Raises IngleError for what this model cannot do."""


class TemplateDialect:
    """By a Jinja chat template; calls of tools stand in the text, between marks."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self._tokenizer, self._template = tokenizer, template

    def prepare(self, turns: Turns, wishes: Wishes) -> Prepared:
        variables = template_variables(self._template, wishes.reasoning, wishes.variables)
        if wishes.choice is not None and wishes.choice.declared:
            variables |= self._declared(wishes.choice)
        said = [_as_template_message(turn) for turn in turns]
        if "developer" not in self._template:  # the newer word for the same role
            said = [{**m, "role": "system"} if m.get("role") == "developer" else m for m in said]
        ids = render_ids(self._tokenizer, self._template, said, **variables)
        end = self._tokenizer.decode(ids[-8:])
        inside = opens_reasoning(end)
        held = template_constraint(
            self._tokenizer,
            self._template,
            end,
            wishes.format,
            wishes.budget,
            wishes.max_tokens,
            wishes.choice,
        )
        reader = TextReader(self._tokenizer, wishes.stops, inside, _scanner(wishes))
        return Prepared(ids, reader, held, inside)

    def _declared(self, choice: ToolChoice) -> dict[str, Any]:
        """The tools as a variable; nothing of a template that has no place for them, if none may
        be called. Raises UnsupportedError if some may.
        """
        from ingle.chat.tools.written import check_template

        try:
            check_template(self._template)
        except UnsupportedError:
            if choice.tools:
                raise
            return {}
        return {"tools": [tool.as_openai() for tool in choice.declared]}


def _scanner(wishes: Wishes) -> CallScanner | None:
    if wishes.choice is None or not wishes.choice.tools:
        return None
    from ingle.chat.tools.written import CallScanner

    return CallScanner(wishes.num_calls, wishes.id_prefix)


def _as_template_message(turn: Message | Mapping[str, Any]) -> Mapping[str, Any]:
    """A message as chat templates expect it: the arguments of calls are objects, not their text."""
    said = turn.as_dict() if isinstance(turn, Message) else turn
    calls = said.get("tool_calls")
    if not isinstance(calls, list | tuple):
        return said
    return {**said, "tool_calls": [_with_object(call) for call in calls]}


def _with_object(call: Any) -> Any:
    inner = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("arguments"), str):
        return call
    try:
        arguments = json.loads(inner["arguments"])
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**inner, "arguments": arguments}}
