"""Owns what a person asks of an answer beyond sampling: its format, style, reasoning and tools.

It does not know models, nor how answers are shown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingle.errors import IngleError

_FORMAT_BYTES = 1 << 20
_FORMAT_HINT = "say json, or name a file that holds a JSON Schema (.json) or a grammar (.lark)"


@dataclass(frozen=True)
class AnswerWishes:
    """The options of `ingle run` for the answer itself, as typed; None where not."""

    answer_format: str | None = None
    style: str | None = None
    reasoning_budget: int | None = None
    tools: str | None = None
    tool_choice: str | None = None
    max_turns: int | None = None
    assent: bool = False

    def check(self, raw: bool) -> None:
        """Raise IngleError for a wish that cannot be meant, before any work."""
        chat_alone = {
            "--style": self.style,
            "--reasoning-budget": self.reasoning_budget,
            "--tools": self.tools,
        }
        for option, value in chat_alone.items():
            if raw and value is not None:
                rule = "raw text has no place for it, but got both this option and --raw"
                raise IngleError(option, rule, "leave one of them out")
        for option, value in {
            "--tool-choice": self.tool_choice,
            "--yes": self.assent or None,
        }.items():
            if value is not None and self.tools is None:
                raise IngleError(option, "it is about tools, but got no --tools", "name their file")
        if self.answer_format is not None:
            read_format(self.answer_format, "--format")

    def generate_options(self) -> dict[str, Any]:
        """Those options of `LLM.generate` that are set."""
        if self.answer_format is None:
            return {}
        return {"format": read_format(self.answer_format, "--format")}

    def chat_options(self) -> dict[str, Any]:
        """Those options of `LLM.chat` that are set. Raises IngleError."""
        own = {
            "style": self.style,
            "reasoning_budget": self.reasoning_budget,
            "tool_choice": self.tool_choice,
            "max_turns": self.max_turns,
        }
        found = {name: value for name, value in own.items() if value is not None}
        return {**self.generate_options(), **found, **self._calling()}

    def _calling(self) -> dict[str, Any]:
        if self.tools is None:
            return {}
        from ingle.cli.calls import CallDesk, read_tools

        desk = CallDesk(self.assent)
        tools = read_tools(self.tools)
        return {"tools": tools, "approve": desk.approve, "on_result": desk.tell}


def read_format(name: str, where: str) -> Any:
    """The option `format` of LLM: "json", or what stands in a file. Raises IngleError."""
    if name == "json":
        return name
    path = Path(name).expanduser()
    if path.suffix not in (".json", ".lark"):
        raise IngleError(where, f"the format must be known, but got {name!r:.80}", _FORMAT_HINT)
    try:
        with path.open("rb") as file:
            text = file.read(_FORMAT_BYTES + 1).decode()
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        rule = f"the file must be readable text, but got {name!r:.80}: {said}"
        raise IngleError(where, rule, _FORMAT_HINT) from None
    if len(text) > _FORMAT_BYTES:
        raise IngleError(where, f"a format has at most {_FORMAT_BYTES} bytes, but got more")
    if path.suffix == ".lark":
        return {"type": "lark", "grammar": text}
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        rule = f"the file must hold JSON, but got {name!r:.80}: {error!s:.100}"
        raise IngleError(where, rule) from None
