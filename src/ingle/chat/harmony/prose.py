"""Owns the text of Harmony's system and developer messages, as openai-harmony 0.0.8 writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ingle.chat.harmony.content import (
    FUNCTIONS,
    DeveloperContent,
    FunctionTool,
    ResponseFormat,
    SystemContent,
    ToolNamespace,
)
from ingle.chat.harmony.typescript import json_text, type_text

_TO_COMMENTARY = f"Calls to these tools must go to the commentary channel: '{FUNCTIONS}'."


def system_text(content: SystemContent, has_functions: bool) -> str:
    """What a system message says. has_functions: a developer message declares function tools."""
    facts = [
        content.identity,
        _line("Knowledge cutoff", content.knowledge_cutoff),
        _line("Current date", content.date),
    ]
    said = _joined(
        _joined(*facts, between="\n"),
        _line("Reasoning", content.effort),
        _tools(content.namespaces),
        _channels(content, has_functions),
    )
    return said or ""


def developer_text(content: DeveloperContent) -> str:
    """What a developer message says."""
    instructions = content.instructions
    said = _joined(
        None if instructions is None else f"# Instructions\n\n{instructions}",
        _tools(content.namespaces),
        _formats(content.response_formats),
    )
    return said or ""


def _joined(*parts: str | None, between: str = "\n\n") -> str | None:
    """The parts there are; None where there are none."""
    there = [part for part in parts if part is not None]
    return between.join(there) if there else None


def _line(name: str, value: str | None) -> str | None:
    return None if value is None else f"{name}: {value}"


def _channels(content: SystemContent, has_functions: bool) -> str | None:
    if not content.channels:
        return None
    must = " Channel must be included for every message." if content.channel_required else ""
    calls = f"\n{_TO_COMMENTARY}" if has_functions else ""
    return f"# Valid channels: {', '.join(content.channels)}.{must}{calls}"


def _tools(namespaces: Sequence[ToolNamespace]) -> str | None:
    if not namespaces:
        return None
    return "\n\n".join(["# Tools", *("\n".join(_namespace(space)) for space in namespaces)])


def _namespace(space: ToolNamespace) -> Iterator[str]:
    yield f"## {space.name}\n"
    if space.description is not None:
        lines = _lines(space.description)
        yield from (f"// {line}" for line in lines) if space.tools else lines
    if space.tools:
        yield f"namespace {space.name} {{\n"
        for tool in space.tools:
            yield from _function(tool)
        yield f"}} // namespace {space.name}"


def _function(tool: FunctionTool) -> Iterator[str]:
    yield from (f"// {line}" for line in _lines(tool.description))
    taken = "" if tool.parameters is None else f"_: {type_text(tool.parameters)}"
    yield f"type {tool.name} = ({taken}) => any;\n"


def _lines(text: str) -> list[str]:
    """Lines as Rust's `str::lines` sees them: ended by a newline, less a carriage return."""
    lines = text.split("\n")
    ended = lines[:-1] + ([lines[-1]] if lines[-1] else [])
    last = len(lines) - 1
    return [line.removesuffix("\r") if i < last else line for i, line in enumerate(ended)]


def _formats(formats: Iterable[ResponseFormat]) -> str | None:
    shown = [_format(one) for one in formats]
    return "\n\n".join(["# Response Formats", *shown]) if shown else None


def _format(one: ResponseFormat) -> str:
    about = "".join(f"// {line}\n" for line in _lines(one.description or ""))
    return f"## {one.name}\n\n{about}{json_text(one.schema)}"
