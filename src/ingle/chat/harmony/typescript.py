"""Owns writing a tool's JSON Schema as the TypeScript that gpt-oss was trained to read.

The rules, spaces and oddities are openai-harmony 0.0.8's; what it has no rule for is `any`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ingle.errors import UnsupportedError

MAX_DEPTH = 64
_LISTED = {"integer": "number"}
_PLAIN = {"number": "number", "integer": "number", "boolean": "boolean"}


def type_text(schema: Any, indent: str = "", depth: int = 0) -> str:
    """The type that a JSON Schema describes. Raises UnsupportedError for one too deep.

    >>> type_text({"type": "object", "properties": {"city": {"type": "string"}}})
    '{\\ncity?: string,\\n}'
    """
    if depth > MAX_DEPTH:
        rule = f"schemas are at most {MAX_DEPTH} levels deep, but got more"
        raise UnsupportedError("parameters", rule)
    if not isinstance(schema, Mapping):
        return "any"
    variants, kind = schema.get("oneOf"), schema.get("type")
    if isinstance(variants, list):
        return "".join(_variant(variant, indent, depth) for variant in variants)
    if isinstance(kind, list):
        names = [_LISTED.get(name, name) for name in kind if isinstance(name, str)]
        if names:
            return " | ".join(names)
    if kind == "object":
        return _object(schema, indent, depth)
    if kind == "string":
        return _string(schema)
    if kind == "array":
        items = schema.get("items")
        return f"{type_text(items, indent, depth + 1)}[]" if "items" in schema else "Array<any>"
    return _PLAIN.get(kind, "any") if isinstance(kind, str) else "any"


def _string(schema: Mapping[str, Any]) -> str:
    values = schema.get("enum")
    texts = [f'"{v}"' for v in values if isinstance(v, str)] if isinstance(values, list) else []
    return " | ".join(texts) or "string"


def _variant(variant: Any, indent: str, depth: int) -> str:
    shown = _nullable(type_text(variant, indent + "   ", depth + 1), variant)
    return f"\n{indent} | {shown}{_remarks(variant, _description(variant), as_json=True)}"


def _object(schema: Mapping[str, Any], indent: str, depth: int) -> str:
    description = _description(schema)
    above = "" if description is None else f"{indent}// {description}\n"
    properties, required = schema.get("properties"), schema.get("required")
    listed = required if isinstance(required, list) else []
    needed = {name for name in listed if isinstance(name, str)}
    lines = [
        line
        for key, value in (properties.items() if isinstance(properties, Mapping) else ())
        for line in _property(key, value, "" if key in needed else "?", indent, depth)
    ]
    return f"{above}{{\n{''.join(lines)}{indent}}}"


def _property(key: str, value: Any, mark: str, indent: str, depth: int) -> Iterator[str]:
    """The lines of one property, each with its newline; `mark` follows its name."""
    schema = value if isinstance(value, Mapping) else {}
    yield from _notes(schema, indent)
    if isinstance(schema.get("oneOf"), list):
        yield from _choice(key, schema, mark, indent, depth)
        return
    shown = _nullable(type_text(value, indent + "    ", depth + 1), schema)
    has_default = "default" in schema and "oneOf" not in schema
    default = f" // {_default(schema)}" if has_default else ""
    yield f"{indent}{key}{mark}: {shown},{default}\n"


def _notes(schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Title, description and examples above a property."""
    title, description = schema.get("title"), _description(schema)
    if isinstance(title, str):
        yield f"{indent}// {title}\n{indent}//\n"
    if description is not None and "oneOf" not in schema:
        yield f"{indent}// {description}\n"
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        yield f"{indent}// Examples:\n"
        yield from (f'{indent}// - "{text}"\n' for text in examples if isinstance(text, str))


def _choice(
    key: str, schema: Mapping[str, Any], mark: str, indent: str, depth: int
) -> Iterator[str]:
    """A property that is one of several types; no description stands there twice."""
    variants, description = schema["oneOf"], _description(schema)
    first = _description(variants[0]) if variants else None
    said = description is not None and description != first
    if said:
        yield f"{indent}// {description}\n"
    if "default" in schema:
        yield f"{indent}// {_default(schema)}\n"
    yield f"{indent}{key}{mark}:\n"
    for i, variant in enumerate(variants):
        shown = _nullable(type_text(variant, indent + "   ", depth + 1), variant)
        remark = _description(variant)
        if (i == 0 and said) or remark == description:
            remark = None
        yield f"{indent} | {shown}{_remarks(variant, remark)}\n"
    yield f"{indent},\n"


def _remarks(variant: Any, description: str | None, as_json: bool = False) -> str:
    """The comment after a variant."""
    remarks = [] if description is None else [description]
    if isinstance(variant, Mapping) and "default" in variant:
        remarks.append(_default(variant, as_json))
    return f" // {' '.join(remarks)}" if remarks else ""


def _description(schema: Any) -> str | None:
    found = schema.get("description") if isinstance(schema, Mapping) else None
    return found if isinstance(found, str) else None


def _nullable(shown: str, schema: Any) -> str:
    null = isinstance(schema, Mapping) and schema.get("nullable") is True
    return f"{shown} | null" if null and "null" not in shown else shown


def _default(schema: Mapping[str, Any], as_json: bool = False) -> str:
    """The remark on a default: text in quotes, but bare (or as JSON) beside an enum."""
    value, values = schema["default"], schema.get("enum")
    has_enum = isinstance(values, list) and bool(values)
    if not isinstance(value, str) or (has_enum and as_json):
        return f"default: {json_text(value)}"
    return f"default: {value}" if has_enum else f'default: "{value}"'


def json_text(value: Any) -> str:
    """Compact JSON as serde_json writes it: no escapes of what needs none, numbers its own way."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        pairs = (f"{json_text(str(key))}:{json_text(item)}" for key, item in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(json_text, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return _number(float(value))
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    """The shortest digits that mean a float, with an exponent where ryu writes one."""
    if not math.isfinite(value):
        return "null"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    point = len(digits) + int(exponent)  # digits before the decimal point
    if text == "0":
        shown = "0.0"
    elif len(text) <= point <= 16:
        shown = text + "0" * (point - len(text)) + ".0"
    elif 0 < point <= 16:
        shown = f"{text[:point]}.{text[point:]}"
    elif -5 < point <= 0:
        shown = "0." + "0" * -point + text
    else:
        shown = f"{text[0]}{'.' if text[1:] else ''}{text[1:]}e{point - 1}"
    return "-" * sign + shown
