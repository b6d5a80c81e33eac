"""Owns running the calls of a model: whatever happens becomes a message for it, never a crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingle.chat.message import Message, ToolCall
from ingle.chat.tools.tool import Tool
from ingle.errors import IngleError

MAX_RESULT_CHARS = 1 << 17
DECLINED = "The user declined this call."

Approval = Callable[[ToolCall], bool]
"""Whether a call may be made; asked before it is."""


@dataclass(frozen=True)
class ToolResult:
    """A call that was answered. failed: `content` tells an error; the tool may not have run."""

    call: ToolCall
    content: str
    failed: bool = False

    @property
    def message(self) -> Message:
        """What the model is told."""
        return Message("tool", self.content, name=self.call.name, tool_call_id=self.call.id)


class Toolbox:
    """Tools that can be run. Every call is checked against its tool's schema first."""

    def __init__(self, tools: Sequence[Tool], approve: Approval | None = None) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._approve = approve

    @property
    def runs_all(self) -> bool:
        """Whether every tool has a function."""
        return all(tool.function is not None for tool in self._tools.values())

    def answer(self, call: ToolCall) -> ToolResult:
        """The result of a call: what its tool says, or what went wrong.

        KeyboardInterrupt and SystemExit pass; anything else a tool raises is told to the model.
        """
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(self._tools) or "none"
            return _failure(call, f"there is no tool {call.name!r:.80}; declared tools: {known}")
        try:
            arguments = tool.read(call.arguments)
        except IngleError as error:
            return _failure(call, f"{error.rule}")
        if self._approve is not None and not self._approve(call):
            return ToolResult(call, DECLINED, failed=True)
        try:
            return ToolResult(call, _bounded(tool.run(arguments)))
        except Exception as error:  # a tool is anybody's code
            return _failure(call, f"{type(error).__name__}: {error}".rstrip(": "))


def _failure(call: ToolCall, said: str) -> ToolResult:
    return ToolResult(call, _bounded(f"Error: {said}"), failed=True)


def _bounded(text: str) -> str:
    if len(text) <= MAX_RESULT_CHARS:
        return text
    left_out = len(text) - MAX_RESULT_CHARS
    return f"{text[:MAX_RESULT_CHARS]}\n[{left_out} more characters left out]"
