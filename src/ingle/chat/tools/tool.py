"""Owns `Tool`: a function that a model may call, however it was declared.

It does not know how a model writes a call, nor who runs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from ingle.chat.constraint.grammar import Grammar
from ingle.chat.constraint.references import check_references
from ingle.chat.tools.annotation import value_of
from ingle.chat.tools.signature import annotations_of, description_of, parameters_of
from ingle.errors import IngleError, UnsupportedError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_SCHEMA_CHARS = 1 << 20
_EMPTY: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class Tool:
    """A declared function.

    parameters: JSON Schema (2020-12) of the object of its arguments, None if it takes none.
    function: what runs it, called with the arguments by name; None where the caller will. strict:
    the schema must be enforceable while a call is written, and not only checked afterwards.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    function: Callable[..., Any] | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            rule = "a tool's name has 1 to 64 letters, digits, _ and -"
            raise IngleError("tools", f"{rule}, but got {self.name!r:.80}")
        if not isinstance(self.description, str):
            rule = f"a tool's description is text, but got {self.description!r:.80}"
            raise IngleError(f"tool {self.name}", rule)
        if self.parameters is not None:
            _check_schema(self.name, self.parameters)

    @classmethod
    def of(cls, declared: Any) -> Self:
        """A tool from a function, OpenAI's ``{"type": "function", ...}``, or what stands in it.

        OpenAI's Responses API has the name beside the type; the Chat API has it inside
        "function"; Anthropic calls the schema "input_schema". Raises IngleError.

        >>> Tool.of({"name": "now", "description": "The time."}).name
        'now'
        """
        if isinstance(declared, cls):
            return declared
        if isinstance(declared, Mapping):
            return cls._of_object(declared)
        if callable(declared):
            name = getattr(declared, "__name__", type(declared).__name__)
            return cls(name, description_of(declared), parameters_of(declared), declared)
        rule = f"a tool is a function or an object that declares one, but got {declared!r:.80}"
        raise IngleError("tools", rule)

    @classmethod
    def _of_object(cls, declared: Mapping[str, Any]) -> Self:
        kind = declared.get("type", "function")
        if kind not in ("function", "custom") or (kind == "custom" and "name" not in declared):
            rule = f"a tool's type must be function, but got {kind!r:.80}"
            raise UnsupportedError("tools", rule)
        inner = declared.get("function", declared)
        if not isinstance(inner, Mapping) or "name" not in inner:
            rule = f"a tool must have a name, but got {declared!r:.80}"
            raise IngleError("tools", rule, 'write {"type": "function", "function": {"name": ...}}')
        schema = inner.get("parameters", inner.get("input_schema"))
        strict = inner.get("strict") is True
        return cls(inner["name"], inner.get("description") or "", schema, None, strict)

    @property
    def schema(self) -> Mapping[str, Any]:
        """What the arguments follow, also where there are none."""
        return _EMPTY if self.parameters is None else self.parameters

    @cached_property
    def grammar(self) -> Grammar:
        """What a call's arguments are held to while they are written.

        Raises UnsupportedError where the tool is strict and its schema cannot be enforced.
        """
        return Grammar.json_schema(self.schema, f"tool {self.name}", lenient=not self.strict)

    def as_openai(self) -> dict[str, Any]:
        """OpenAI's shape, which chat templates expect."""
        inner = {"name": self.name, "description": self.description, "parameters": self.schema}
        return {"type": "function", "function": inner}

    def read(self, arguments: str) -> dict[str, Any]:
        """The arguments of a call, as JSON. Raises IngleError for what the schema does not allow.

        Text that is empty stands for no arguments.
        """
        where = f"tool {self.name}"
        try:
            found = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError) as error:
            rule = f"arguments must be JSON, but got {arguments!r:.200}: {error!s:.100}"
            raise IngleError(where, rule) from None
        if not isinstance(found, dict):
            raise IngleError(where, f"arguments must be an object, but got {arguments!r:.200}")
        try:
            worst = best_match(self._validator.iter_errors(found))
        except (RecursionError, Unresolvable) as error:
            rule = f"arguments must be comparable with the schema, but got {type(error).__name__}"
            raise IngleError(where, rule, "the schema's references may lead nowhere") from None
        if worst is not None:
            rule = f"{worst.json_path[:80]} must follow the schema, but got: {worst.message[:300]}"
            raise IngleError(where, rule)
        return found

    def run(self, arguments: Mapping[str, Any]) -> str:
        """What the function says to arguments that `read` returned: text, or JSON.

        Raises whatever the function raises, IngleError if there is none.
        """
        if self.function is None:
            rule = f"a tool must have a function to be run, but got only {self.name}'s declaration"
            raise IngleError("tools", rule, "hand over the Python function itself")
        hints = annotations_of(self.function) if self._has_hints else {}
        values = {k: value_of(hints[k], v) if k in hints else v for k, v in arguments.items()}
        return _as_text(self.function(**values))

    @cached_property
    def _has_hints(self) -> bool:
        """Whether the schema was made of the function, whose types its arguments then have."""
        assert self.function is not None
        try:
            return parameters_of(self.function) == self.parameters
        except (IngleError, ValueError):
            return False

    @cached_property
    def _validator(self) -> Draft202012Validator:
        return Draft202012Validator(self.schema, registry=Registry())  # fetches nothing


def tools_of(declared: Iterable[Any] | None) -> tuple[Tool, ...]:
    """Tools as handed over by a caller. Raises IngleError for what declares none, or one twice."""
    if declared is None:
        return ()
    if isinstance(declared, str | Mapping) or not isinstance(declared, Iterable):
        raise IngleError("tools", f"tools are a list, but got {declared!r:.80}")
    found = tuple(Tool.of(one) for one in declared)
    names = [tool.name for tool in found]
    for name in names:
        if names.count(name) > 1:
            raise IngleError("tools", f"names of tools must differ, but got {name} twice")
    return found


def _check_schema(name: str, schema: Any) -> None:
    where = f"tool {name}"
    if not isinstance(schema, Mapping):
        raise IngleError(where, f"parameters are a JSON Schema object, but got {schema!r:.80}")
    try:
        if len(json.dumps(schema)) > _MAX_SCHEMA_CHARS:
            rule = f"a schema has at most {_MAX_SCHEMA_CHARS} characters, but got more"
            raise UnsupportedError(where, rule)
        Draft202012Validator.check_schema(schema)
        check_references(schema, where)
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, IngleError):
            raise
        raise IngleError(where, f"parameters must be JSON, but got {error!s:.100}") from None
    except SchemaError as error:
        rule = f"parameters must be a JSON Schema, but got: {error.message:.200}"
        raise IngleError(where, rule) from None
    if schema.get("type", "object") != "object":
        rule = f"parameters must describe an object, but got type {schema['type']!r:.80}"
        raise IngleError(where, rule)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)
