"""Owns a schema's references: whether they lead to something, and where within another schema.

It does not know grammars, nor what else a schema may say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingle.errors import IngleError

_CHOICES = ("anyOf", "oneOf")
_VALUES = ("const", "enum", "default", "examples")  # of which nothing is a schema


def check_references(schema: Mapping[str, Any], where: str) -> None:
    """Raise IngleError for a schema that is, by its references, itself and nothing else.

    schema: nested as deep as JSON parsers allow, and no deeper. References that lead nowhere, or
    out of the schema, are passed over. Takes time in proportion to the schema's size, as the
    emptiness of a grammar is decided: what ends settles what leads to it.
    """
    nodes = _nodes(schema)
    open_ways = {key: _ways(schema, node) for key, node in nodes.items()}
    waiting: dict[int, list[tuple[int, int]]] = {}  # a node: the ways, of which nodes, that take it
    for key, ways in open_ways.items():
        for number, targets in ways.items():
            for target in targets:
                waiting.setdefault(target, []).append((key, number))
    ended = [key for key, ways in open_ways.items() if not ways]
    while ended:
        for key, number in waiting.pop(ended.pop(), ()):
            if open_ways[key].pop(number, None) is not None and not open_ways[key]:
                ended.append(key)
    for key, ways in open_ways.items():
        if ways:
            rule = f"a schema must not lead to itself alone, but got {dict(nodes[key])!r:.80}"
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


def _nodes(schema: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """All objects of a schema, and what its references lead to, by identity."""
    found: dict[int, Mapping[str, Any]] = {}
    left: list[Any] = [schema]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left.extend(node)
        elif isinstance(node, Mapping) and id(node) not in found:
            found[id(node)] = node
            left.extend(inner for name, inner in node.items() if name not in _VALUES)
            if isinstance(node.get("$ref"), str):
                left.append(_target(schema, node["$ref"]))
    return found


def _ways(schema: Mapping[str, Any], node: Mapping[str, Any]) -> dict[int, list[int]]:
    """What `node` needs to end: by number, nodes of which one must. Nothing if it ends here."""
    if isinstance(node.get("$ref"), str):
        choices = [[_target(schema, node["$ref"])]]
    else:
        choices = [node[name] for name in _CHOICES if isinstance(node.get(name), list)]
    taken = (one for one in choices if one and all(isinstance(way, Mapping) for way in one))
    return {number: [id(way) for way in one] for number, one in enumerate(taken)}


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
