"""Owns a Python function as a tool's declaration: its name, what its docstring says, its schema.

Docstrings are read in Google's, NumPy's and Sphinx's style.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import docstring_parser

from ingle.chat.tools.annotation import Schema, schema_of
from ingle.errors import IngleError, UnsupportedError

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def description_of(function: Callable[..., Any]) -> str:
    """What a function's docstring says of it, without its parameters."""
    found = docstring_parser.parse(inspect.getdoc(function) or "")
    parts = (found.short_description, found.long_description)
    return "\n\n".join(part.strip() for part in parts if part)


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The type hint of each parameter. Raises IngleError, UnsupportedError."""
    name = getattr(function, "__name__", repr(function))
    signature = inspect.signature(function)
    try:
        target = function if inspect.isroutine(function) else type(function).__call__
        hints = get_type_hints(target, include_extras=True)
    except Exception as error:  # a hint may be any expression
        rule = f"type hints must be readable, but got {type(error).__name__}: {error!s:.100}"
        raise IngleError(f"tool {name}", rule) from None
    for parameter in signature.parameters.values():
        if parameter.kind not in _NAMED:
            rule = f"parameters are handed over by name, but got {parameter}"
            raise UnsupportedError(f"tool {name}", rule, "give each parameter a name of its own")
        if parameter.name not in hints:
            rule = f"a parameter must have a type hint, but got {parameter.name} without one"
            raise IngleError(
                f"tool {name}", rule, f"write {parameter.name}: str, or whatever it is"
            )
    return {parameter: hints[parameter] for parameter in signature.parameters}


def parameters_of(function: Callable[..., Any]) -> Schema | None:
    """JSON Schema of the object that holds a function's arguments; None if it takes none."""
    hints = annotations_of(function)
    if not hints:
        return None
    name = getattr(function, "__name__", repr(function))
    told = _told(function)
    properties: dict[str, Schema] = {}
    required = []
    for parameter in inspect.signature(function).parameters.values():
        schema = schema_of(hints[parameter.name], f"tool {name}.{parameter.name}")
        text = told.get(parameter.name) or schema.get("description")
        one = ({"description": text} if text else {}) | schema
        if parameter.default is inspect.Parameter.empty:
            required.append(parameter.name)
        elif isinstance(parameter.default, str | int | float | bool):
            one["default"] = parameter.default
        properties[parameter.name] = one
    made: Schema = {"type": "object", "properties": properties}
    return {**made, "required": required, "additionalProperties": False}


def _told(function: Callable[..., Any]) -> Mapping[str, str]:
    """What the docstring says of each parameter."""
    found = docstring_parser.parse(inspect.getdoc(function) or "")
    return {one.arg_name: " ".join((one.description or "").split()) for one in found.params}
