"""Owns tools as the Responses API declares them.

Functions are declared to the model as they are. A custom tool takes text: it is declared as a
function of one string, and its calls are told as text again. Functions of a namespace are declared
under both names. Tools that OpenAI's own servers run (web_search and its kin) do not exist here:
the model is not told of them, and a choice of one is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingle.errors import IngleError, UnsupportedError

_HOSTED = (
    *("web_search", "web_search_preview", "file_search", "code_interpreter"),
    *("image_generation", "computer_use_preview", "computer", "mcp", "tool_search"),
)
_TEXT = "input"  # the one argument of a custom tool


@dataclass(frozen=True)
class Declared:
    """functions: in OpenAI's shape. custom: names of those that take text. choice: among them.

    spaces: the namespace and the name in it, by the name that the model knows.
    """

    functions: tuple[Mapping[str, Any], ...] = ()
    custom: frozenset[str] = frozenset()
    spaces: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    choice: Any = None


def declared(tools: Sequence[Mapping[str, Any]], choice: Any) -> Declared:
    """The tools that a model is told of. Raises IngleError, UnsupportedError."""
    functions: list[Mapping[str, Any]] = []
    custom: set[str] = set()
    spaces: dict[str, tuple[str, str]] = {}
    for index, tool in enumerate(tools):
        kind = tool.get("type")
        if kind == "function":
            functions.append(tool)
        elif kind == "custom":
            functions.append(_as_function(tool))
            custom.add(str(tool.get("name")))
        elif kind == "namespace":
            for name, inner in _inner(f"tools.{index}", tool):
                functions.append({**inner, "name": qualified(name, inner["name"])})
                spaces[qualified(name, inner["name"])] = (name, inner["name"])
        elif kind not in _HOSTED and not str(kind).startswith(("web_search", "computer_use")):
            rule = f"a tool's type must be function or custom, but got {kind!r:.60}"
            raise UnsupportedError(f"tools.{index}.type", rule)
    return Declared(tuple(functions), frozenset(custom), spaces, _choice(choice, functions))


def qualified(namespace: Any, name: Any) -> str:
    """The name that the model knows of a function in a namespace."""
    return f"{namespace}__{name}" if namespace else str(name)


def as_arguments(text: str) -> str:
    """Text for a custom tool, as the arguments of the function that the model was told of."""
    return json.dumps({_TEXT: text}, ensure_ascii=False)


def as_text(arguments: str) -> str:
    """The other way; what is no such object is text itself."""
    try:
        found = json.loads(arguments)[_TEXT]
    except (ValueError, KeyError, TypeError, RecursionError):
        return arguments
    return found if isinstance(found, str) else arguments


def _inner(where: str, tool: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The namespace and each of its functions."""
    space, inner = tool.get("name"), tool.get("tools")
    if not isinstance(space, str) or not isinstance(inner, list):
        raise IngleError(where, f"a namespace has a name and tools, but got {dict(tool)!r:.80}")
    for one in inner:
        is_function = isinstance(one, Mapping) and one.get("type", "function") == "function"
        if not is_function or not isinstance(one.get("name"), str):
            rule = f"tools of a namespace are functions with names, but got {one!r:.80}"
            raise UnsupportedError(f"{where}.tools", rule)
        yield space, one


def _as_function(tool: Mapping[str, Any]) -> dict[str, Any]:
    said, form = tool.get("description"), tool.get("format")
    lines = [said] if isinstance(said, str) and said else []
    if isinstance(form, Mapping) and isinstance(form.get("definition"), str):
        lines.append(
            f"The input follows this {form.get('syntax', '')} grammar:\n{form['definition']}"
        )
    schema = {
        "type": "object",
        "properties": {_TEXT: {"type": "string"}},
        "required": [_TEXT],
        "additionalProperties": False,
    }
    return {
        "type": "function",
        "name": tool.get("name"),
        "description": "\n\n".join(lines),
        "parameters": schema,
    }


def _choice(choice: Any, functions: Sequence[Mapping[str, Any]]) -> Any:
    """A choice in words that `ToolChoice` knows; of a custom tool as of a function."""
    if not isinstance(choice, Mapping):
        return choice if functions or choice not in ("auto", None) else None
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return {"type": "function", "function": {"name": choice.get("name")}}
    if kind == "allowed_tools":
        return choice
    if kind in _HOSTED:
        rule = f"it must be a declared function, but got {kind}, which this server does not run"
        raise UnsupportedError("tool_choice", rule)
    raise IngleError("tool_choice", f"its type must be function, but got {kind!r:.60}")
