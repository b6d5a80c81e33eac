"""Owns Python's type hints as JSON Schema, and values of JSON as these types.

It knows what a tool's parameter can sensibly be: JSON's own types, lists, tuples and sets of them,
dictionaries by text, `Literal`, enumerations, unions, TypedDicts and dataclasses.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ingle.errors import UnsupportedError

Schema = dict[str, Any]

_SIMPLE: Mapping[Any, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
_LISTS = (list, Sequence, set, frozenset, tuple)
_HINT = "say str, int, float, bool, list[...], dict[str, ...], Literal[...], an Enum or a dataclass"
_MAX_DEPTH = 16


def schema_of(annotation: Any, where: str, depth: int = 0) -> Schema:
    """JSON Schema of a type hint. Raises UnsupportedError, told of `where`, if JSON has none.

    >>> schema_of(list[int] | None, "f.x")
    {'anyOf': [{'type': 'array', 'items': {'type': 'integer'}}, {'type': 'null'}]}
    """
    if depth > _MAX_DEPTH:
        raise _refusal(where, annotation)
    if annotation is Any:
        return {}
    if annotation in _SIMPLE or annotation is None:
        return {"type": _SIMPLE.get(annotation, "null")}
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {"enum": [member.value for member in annotation]}
    fields = _fields(annotation)
    if fields is not None:
        return _object(fields, where, depth)
    return _generic(annotation, where, depth)


def value_of(annotation: Any, value: Any) -> Any:
    """A value of JSON that follows `schema_of(annotation)`, as that type."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return value_of(args[0], value)
    if origin in (Union, types.UnionType):
        return _of_union(args, value)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return annotation(value)
    fields = _fields(annotation)
    if fields is not None and isinstance(value, Mapping):
        known = {k: value_of(fields[k][0], v) if k in fields else v for k, v in value.items()}
        return annotation(**known)
    if (origin or annotation) in _LISTS and isinstance(value, list):
        return _of_list(origin or annotation, args, value)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: value_of(args[1], one) for key, one in value.items()}
    return float(value) if annotation is float and type(value) is int else value


def _generic(annotation: Any, where: str, depth: int) -> Schema:
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    if origin is Annotated:
        told = [extra for extra in args[1:] if isinstance(extra, str)]
        return schema_of(args[0], where, depth) | ({"description": told[0]} if told else {})
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(one, where, depth + 1) for one in args]}
    if origin is tuple and args and args[-1] is not Ellipsis:
        items = [schema_of(one, where, depth + 1) for one in args]
        count = {"minItems": len(items), "maxItems": len(items)}
        return {"type": "array", "prefixItems": items, "items": False, **count}
    if origin in _LISTS:
        unique = {"uniqueItems": True} if origin in (set, frozenset) else {}
        items_of = {"items": schema_of(args[0], where, depth + 1)} if args else {}
        return {"type": "array", **items_of, **unique}
    if origin in (dict, Mapping) and (not args or args[0] is str):
        values = {"additionalProperties": schema_of(args[1], where, depth + 1)} if args else {}
        return {"type": "object", **values}
    raise _refusal(where, annotation)


def _fields(annotation: Any) -> dict[str, tuple[Any, bool]] | None:
    """Type and whether it must be given, of each field; None for what has no fields."""
    if hasattr(annotation, "__required_keys__"):  # TypedDict, of typing or typing_extensions
        needed = annotation.__required_keys__
        hints = get_type_hints(annotation, include_extras=True)
        return {name: (hint, name in needed) for name, hint in hints.items()}
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        hints = get_type_hints(annotation, include_extras=True)
        missing = dataclasses.MISSING
        return {
            one.name: (hints[one.name], one.default is missing and one.default_factory is missing)
            for one in dataclasses.fields(annotation)
            if one.init
        }
    return None


def _object(fields: Mapping[str, tuple[Any, bool]], where: str, depth: int) -> Schema:
    return {
        "type": "object",
        "properties": {
            name: schema_of(hint, f"{where}.{name}", depth + 1)
            for name, (hint, _) in fields.items()
        },
        "required": [name for name, (_, needed) in fields.items() if needed],
        "additionalProperties": False,
    }


def _of_union(choices: Sequence[Any], value: Any) -> Any:
    """`value` as the first of `choices` that it can be."""
    for choice in choices:
        if _fits(choice, value):
            return value_of(choice, value)
    return value


def _fits(annotation: Any, value: Any) -> bool:
    origin = get_origin(annotation) or annotation
    if origin is Annotated:
        return _fits(get_args(annotation)[0], value)
    if origin is Literal:
        return value in get_args(annotation)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return value in [member.value for member in origin]
    if _fields(annotation) is not None or origin in (dict, Mapping):
        return isinstance(value, Mapping)
    if origin in _LISTS:
        return isinstance(value, list)
    if origin is float:
        return type(value) in (int, float)
    return origin is Any or type(value) is origin


def _of_list(kind: Any, args: Sequence[Any], values: list[Any]) -> Any:
    if kind is tuple and args and args[-1] is not Ellipsis:
        return tuple(value_of(hint, one) for hint, one in zip(args, values, strict=False))
    made = [value_of(args[0], one) for one in values] if args else values
    return made if kind in (list, Sequence) else kind(made)


def _refusal(where: str, annotation: Any) -> UnsupportedError:
    rule = f"a parameter must have a type that JSON can say, but got {annotation!r:.80}"
    return UnsupportedError(where, rule, _HINT)
