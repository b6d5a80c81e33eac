"""Owns a schema's references: whether they lead to something, and where within another schema.

It does not know grammars, nor what else a schema may say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ingle.errors import IngleError

_CHOICES = ("anyOf", "oneOf")
_VALUES = ("const", "enum", "default", "examples")  # of which nothing is a schema


def check_references(schema: Mapping[str, Any], where: str) -> None:
    """Raise IngleError for a schema that is, by its references, itself and nothing else.

    schema: nested as deep as JSON parsers allow, and no deeper. References that lead nowhere, or
    out of the schema, are passed over.
    """
    for node in _nodes(schema):
        if not _leads(schema, node, frozenset()):
            rule = f"a schema must not lead to itself alone, but got {dict(node)!r:.80}"
            raise IngleError(where, rule, "let its $ref lead to a type")


def moved(schema: Any, to: str) -> Any:
    """`schema` as part of another one, at the pointer `to`: its references lead to what they did.

    >>> moved({"items": {"$ref": "#/$defs/a"}}, "/properties/x")
    {'items': {'$ref': '#/properties/x/$defs/a'}}
    """
    if isinstance(schema, list):
        return [moved(inner, to) for inner in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {n: inner if n in _VALUES else moved(inner, to) for n, inner in schema.items()}
    reference = found.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        found["$ref"] = f"#{to}{reference[1:]}"
    return found


def _nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    """Whatever refers to something."""
    if isinstance(node, Mapping):
        if isinstance(node.get("$ref"), str):
            yield node
        for name, inner in node.items():
            if name not in _VALUES:
                yield from _nodes(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _nodes(inner)


def _leads(schema: Mapping[str, Any], node: Any, passed: frozenset[int]) -> bool:
    """Whether one of the ways on from `node` ends. passed: the nodes that led here."""
    if not isinstance(node, Mapping):
        return True
    if id(node) in passed:
        return False
    passed |= {id(node)}
    if isinstance(node.get("$ref"), str):
        return _leads(schema, _target(schema, node["$ref"]), passed)
    return all(
        any(_leads(schema, one, passed) for one in node[name])
        for name in _CHOICES
        if isinstance(node.get(name), list) and node[name]
    )


def _target(schema: Mapping[str, Any], reference: str) -> Any:
    """What a pointer within the schema (RFC 6901) leads to; None for any other reference."""
    if not reference.startswith("#"):
        return None
    found: Any = schema
    for part in filter(None, reference[1:].split("/")):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found
