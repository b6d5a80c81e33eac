"""Owns the page that shows a server's API: one file, no script, nothing from elsewhere.

It is made from the OpenAPI description that programs read. It does not know what routes do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
  --accent: light-dark(#8a3b12, #f0a878);
  --soft: color-mix(in srgb, currentColor 6%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
code, .path { font: 0.9em/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
details { border: 1px solid var(--line); border-radius: 0.5rem; margin: 0.6rem 0; }
summary { padding: 0.5rem 0.8rem; cursor: pointer; }
summary:hover { background: var(--soft); }
summary b { color: var(--accent); display: inline-block; min-width: 4.2rem; }
details > div { padding: 0 0.8rem 0.8rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.92em; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.8rem 0.3rem 0;
  border-top: 1px solid var(--line); }
"""
_VERBS = ("get", "post", "put", "patch", "delete", "head")


def reference_page(api: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI 3.1 description."""
    title = escape(f"{api['info']['title']} {api['info']['version']}")
    groups: dict[str, list[str]] = {}
    for path, verbs in api["paths"].items():
        for verb in _VERBS:
            if verb in verbs:
                tag = next(iter(verbs[verb].get("tags", [])), "other")
                groups.setdefault(tag, []).append(_operation(api, verb, path, verbs[verb]))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in groups.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><h1>{title}</h1>"
        '<p>For programs the same is at <a href="openapi.json"><code>/openapi.json</code></a>.</p>'
        f"{body}</html>\n"
    )


def _operation(api: Mapping[str, Any], verb: str, path: str, operation: Mapping[str, Any]) -> str:
    said = escape(operation.get("description") or operation.get("summary") or "")
    head = f"<b>{verb.upper()}</b> <span class=path>{escape(path)}</span>"
    schemas = operation.get("requestBody", {}).get("content", {}).values()
    rows = [
        *(_row(api, one["name"], one.get("schema", {}), one.get("required", False))
          for one in operation.get("parameters", [])),
        *(row for media in schemas for row in _fields(api, media.get("schema", {}))),
    ]  # fmt: skip
    table = f"<table><tr><th>field<th>type<th>meaning{''.join(rows)}</table>" if rows else ""
    return f"<details><summary>{head}</summary><div><p>{said}</p>{table}</div></details>"


def _fields(api: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    whole = _followed(api, schema)
    required = whole.get("required", [])
    for name, one in whole.get("properties", {}).items():
        yield _row(api, name, one, name in required)


def _row(api: Mapping[str, Any], name: str, schema: Mapping[str, Any], required: bool) -> str:
    needed = " (required)" if required else ""
    meaning = escape(str(_followed(api, schema).get("description", "")))
    kind = escape(_kind(api, schema))
    return f"<tr><td><code>{escape(name)}</code>{needed}<td>{kind}<td>{meaning}"


def _kind(api: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0) -> str:
    """A type in few words, such as ``text, or list of text``."""
    whole = _followed(api, schema)
    choices = whole.get("anyOf") or whole.get("oneOf")
    if choices and depth < 2:
        said = dict.fromkeys(_kind(api, one, depth + 1) for one in choices)
        return ", or ".join(kind for kind in said if kind != "null")
    if "enum" in whole:
        return " | ".join(str(one) for one in whole["enum"])
    if whole.get("type") == "array" and depth < 2:
        return f"list of {_kind(api, whole.get('items', {}), depth + 1)}"
    usual = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return usual.get(str(whole.get("type")), str(whole.get("type", "anything")))


def _followed(api: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: Mapping[str, Any] = api.get("components", {}).get("schemas", {}).get(name, schema)
    return found
