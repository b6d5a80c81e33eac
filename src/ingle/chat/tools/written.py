"""Owns calls as models of chat templates write them: JSON in the text, between marks.

Qwen's and Hermes' way, ``<tool_call>\\n{"name": ..., "arguments": {...}}\\n</tool_call>``. It does
not know Harmony, where a call is a message of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ingle.chat.constraint.grammar import WHITESPACE
from ingle.chat.constraint.references import moved
from ingle.chat.message import ToolCall
from ingle.chat.tools.choice import ToolChoice
from ingle.chat.tools.tool import Tool
from ingle.errors import UnsupportedError

OPEN, CLOSE = "<tool_call>", "</tool_call>"


def check_template(template: str) -> None:
    """Raise UnsupportedError unless a chat template declares tools and writes calls this way."""
    if "tools" in template and OPEN in template:
        return
    rule = "the model's chat template must declare tools and mark calls by <tool_call>"
    got = "tools, but no such mark" if "tools" in template else "no tools in it"
    hint = "choose a model that calls tools, such as gpt-oss or Qwen3"
    raise UnsupportedError("tools", f"{rule}, but got {got}", hint)


def schema_of(tools: Sequence[Tool]) -> dict[str, object]:
    """JSON Schema of what stands between the marks.

    Keywords that no grammar can enforce are left to the check before a call is made.
    """
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.name},
                "arguments": moved(tool.schema, f"/anyOf/{index}/properties/arguments"),
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for index, tool in enumerate(tools)
    ]
    return {"x-guidance": {"lenient": True, "whitespace_pattern": WHITESPACE}, "anyOf": calls}


class CallScanner:
    """Takes text as it comes, passes on what is no call, and collects the calls.

    found: calls so far, in order, with ids of their own. What stands between marks and is no call
    is passed on as text. cut: the text ended within a call.
    """

    def __init__(self, first_id: int = 0, id_prefix: str = "call_") -> None:
        self.found: list[ToolCall] = []
        self.cut = False
        self._held = ""
        self._first_id, self._id_prefix = first_id, id_prefix

    def feed(self, piece: str) -> str:
        """The text that is certainly no call."""
        self._held += piece
        shown = ""
        while (at := self._held.find(OPEN)) >= 0:
            end = self._held.find(CLOSE, at)
            if end < 0:
                shown += self._held[:at]
                self._held = self._held[at:]
                return shown
            shown += self._held[:at] + self._take(self._held[at + len(OPEN) : end])
            self._held = self._held[end + len(CLOSE) :].removeprefix("\n")
        keep = _begun(self._held)
        shown += self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return shown

    def finish(self) -> str:
        """What was held back, at the end: a call that was cut off is text, and `cut` says so."""
        held, self._held = self._held, ""
        self.cut = held.startswith(OPEN)
        return held

    def _take(self, body: str) -> str:
        try:
            said = json.loads(body)
            name, arguments = said["name"], said.get("arguments", said.get("parameters", {}))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return f"{OPEN}{body}{CLOSE}"
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
        call_id = f"{self._id_prefix}{self._first_id + len(self.found)}"
        self.found.append(ToolCall(str(name), written, call_id))
        return ""


def grammar_source(choice: ToolChoice, marks: tuple[int, int] | None) -> str:
    """Lark of a reply with calls to `choice.tools`, for `Grammar.trusted_lark`.

    marks: ids of the two marks, None where they are plain text.
    """
    body = f"%json {json.dumps(schema_of(choice.tools))}"
    head = "TEXT: /(.|\\n)*/\nWS: /[ \\n]{0,2}/\n"
    some, more = ("call+", "call*") if choice.parallel else ("call", "call?")
    if marks is not None:
        call = f'call: <[{marks[0]}]> "\\n" body "\\n" <[{marks[1]}]> WS\n'
        start = f"start: {some}\n" if choice.mode == "required" else f"start: TEXT {more}\n"
        return f"{start}{head}{call}body: {body}\n"
    close = f'"\\n" body "\\n{CLOSE}" WS\n'
    if choice.mode == "required":
        return f'start: {some}\n{head}call: "{OPEN}" {close}body: {body}\n'
    return (
        f"start: {more} rest\nrest: TEXT\n{head}"
        f'opening[lazy]: TEXT "{OPEN}"\ncall: opening {close}body: {body}\n'
    )


def _begun(text: str) -> int:
    """Length of the end of `text` that may be the start of a mark."""
    limit = min(len(text), len(OPEN) - 1)
    return next((n for n in range(limit, 0, -1) if text.endswith(OPEN[:n])), 0)
