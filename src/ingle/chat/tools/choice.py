"""Owns `ToolChoice`: whether a model may, must or must not call tools, and which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from ingle.chat.tools.tool import Tool
from ingle.errors import IngleError

Mode = Literal["auto", "none", "required"]

_SYNONYMS: Mapping[str, Mode] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",  # Anthropic's word
}
_NAMING = ("function", "tool")


@dataclass(frozen=True)
class ToolChoice:
    """mode: "auto" leaves it to the model, "none" forbids calls, "required" asks for one.

    tools: those that may be called; of one that was named, that one alone. declared: those that
    the model is told of, which stay the same through a chat whatever may be called. parallel:
    whether one reply may make several calls.
    """

    mode: Mode
    tools: tuple[Tool, ...]
    declared: tuple[Tool, ...] = ()
    parallel: bool = True

    @classmethod
    def of(cls, choice: Any, tools: Sequence[Tool]) -> Self:
        """From "auto", "none", "required", or a tool by name as OpenAI and Anthropic write it.

        None is "auto" where there are tools. Raises IngleError for a choice that nobody knows, a
        tool that was not declared, and a demand to call where there is none. OpenAI's allowed_tools
        is a choice among some of them.
        """
        if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
            return cls._among(choice.get("allowed_tools", choice), tools)
        if isinstance(choice, Mapping) and choice.get("type") in _SYNONYMS:
            choice = choice["type"]
        if choice is None or (isinstance(choice, str) and choice in _SYNONYMS):
            mode = _SYNONYMS["auto" if choice is None else choice]
            if mode == "required" and not tools:
                raise IngleError("tool_choice", "there must be tools to choose, but got none")
            callable_ones = () if mode == "none" else tuple(tools)
            return cls(mode if tools else "none", callable_ones, tuple(tools))
        name = _named(choice)
        found = tuple(tool for tool in tools if tool.name == name)
        if not found:
            known = ", ".join(tool.name for tool in tools) or "none"
            rule = f"it must be auto, none, required or a declared tool, but got {choice!r:.80}"
            raise IngleError("tool_choice", rule, f"declared tools: {known}")
        return cls("required", found, tuple(tools))

    @classmethod
    def _among(cls, said: Any, tools: Sequence[Tool]) -> Self:
        mode, named = (
            (said.get(n) for n in ("mode", "tools")) if isinstance(said, Mapping) else (0, 0)
        )
        if mode not in ("auto", "required") or not isinstance(named, list) or not named:
            rule = f"allowed_tools has a mode, auto or required, and tools, but got {said!r:.80}"
            raise IngleError("tool_choice", rule)
        chosen = [
            cls.of({**one, "type": "function"} if isinstance(one, Mapping) else one, tools)
            for one in named
        ]
        names = {tool.name for one in chosen for tool in one.tools}
        return cls(mode, tuple(tool for tool in tools if tool.name in names), tuple(tools))

    def after_a_call(self) -> Self:
        """The choice once what was required is called: the model's own."""
        return replace(self, mode="auto", tools=self.declared) if self.tools else self


def _named(choice: Any) -> Any:
    if isinstance(choice, Mapping) and choice.get("type") in _NAMING:
        inner = choice.get("function", choice)
        return inner.get("name") if isinstance(inner, Mapping) else None
    return choice
