"""Owns one call of `LLM.chat`: its options read and checked, its replies asked for in turn.

It does not know how a model writes a conversation (`dialect`), nor engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ingle.chat.message import Message
from ingle.llm.constraint import answer_format
from ingle.llm.dialect import Dialect, Prepared, Turns, Wishes
from ingle.llm.stop import stop_strings
from ingle.llm.stream import Stream
from ingle.llm.tool_loop import DEFAULT_TURNS, ToolLoop

if TYPE_CHECKING:  # with tools alone: they load slowly
    from ingle.chat.style import Style
    from ingle.chat.tools import ToolChoice

Start = Callable[[Prepared], Stream]
"""Begins to answer a prompt."""


@dataclass(frozen=True)
class Chat:
    """A conversation to be answered in a dialect.

    own: the options of `ChatOptions` alone; options: those of any generation, in force. id_prefix:
    of the ids of calls.
    """

    dialect: Dialect
    turns: Turns
    own: Mapping[str, Any]
    options: Mapping[str, Any]
    start: Start
    id_prefix: str = "call_"

    def reply(self) -> Stream | ToolLoop:
        """The answer, begun; with tools that can be run, the loop. Raises IngleError."""
        told, wishes = self._told()
        choice = wishes.choice
        return told._stream(wishes, ()) if choice is None else told._loop(wishes, choice)

    def prompt(self) -> list[int]:
        """The ids that would be answered. Raises IngleError."""
        told, wishes = self._told()
        return self.dialect.prepare(told.turns, wishes).ids

    def _told(self) -> tuple[Chat, Wishes]:
        """The chat with its style's instructions, and all that is wished of the reply."""
        choice, style = self._choice(), self._style()
        wishes = Wishes(
            self.own.get("reasoning"),
            self.own.get("chat_template_kwargs") or {},
            self.own.get("reasoning_budget"),
            choice,
            answer_format(self.options.get("format")) if style is None else style.format,
            self.options.get("max_tokens"),
            stop_strings(self.options.get("stop")),
            id_prefix=self.id_prefix,
        )
        return self if style is None else replace(self, turns=_told(self.turns, style)), wishes

    def _loop(self, wishes: Wishes, choice: ToolChoice) -> ToolLoop:
        from ingle.chat.tools import Toolbox

        toolbox = Toolbox(choice.declared, self.own.get("approve"))

        def ask(said: Sequence[Message]) -> Stream:
            calls = sum(one.role == "tool" for one in said)
            now = choice.after_a_call() if calls else choice
            return self._stream(replace(wishes, choice=now, num_calls=calls), said)

        turns = self.own.get("max_turns", DEFAULT_TURNS)
        return ToolLoop(ask, toolbox, turns, self.own.get("on_result"))

    def _stream(self, wishes: Wishes, said: Sequence[Message]) -> Stream:
        prepared = self.dialect.prepare([*self.turns, *said], wishes)
        stream = self.start(prepared)
        stream.opens_in_reasoning = prepared.opens_in_reasoning
        return stream

    def _style(self) -> Style | None:
        if self.own.get("style") is None:
            return None
        from ingle.chat.style import Style

        return Style.of(self.own["style"], self.options.get("format"))

    def _choice(self) -> ToolChoice | None:
        """What may be called; None where no tools were given."""
        declared, wanted = self.own.get("tools"), self.own.get("tool_choice")
        if not declared and wanted in (None, "none", "auto"):
            return None
        from ingle.chat.tools import ToolChoice, tools_of

        choice = ToolChoice.of(wanted, tools_of(declared))
        return replace(choice, parallel=self.own.get("parallel_tool_calls") is not False)


def _told(turns: Turns, style: Style) -> Turns:
    """`turns` with a style's instructions at the end of the system's words, or before all else."""
    first = dict(turns[0]) if turns and isinstance(turns[0], Mapping) else {}
    said = first.get("content")
    if first.get("role") in ("system", "developer") and isinstance(said, str):
        return [{**first, "content": f"{said}\n\n{style.instructions}"}, *turns[1:]]
    return [{"role": "system", "content": style.instructions}, *turns]
