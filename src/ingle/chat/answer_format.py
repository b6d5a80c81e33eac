"""Owns the wish for an answer in a format, in every spelling, and the grammar that enforces it.

It does not know how a model is told of the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ingle.chat.constraint.grammar import Grammar
from ingle.errors import IngleError

_WHERE = "format"
_HINT = 'say "json", a JSON Schema, {"type": "regex", "pattern": ...} or {"type": "lark", ...}'


@dataclass(frozen=True)
class AnswerFormat:
    """A format. schema: what a model can be shown of it, None where there is no schema.

    name, description: of the schema, as OpenAI's `response_format` has them.
    """

    grammar: Grammar
    schema: Mapping[str, Any] | None = None
    name: str = "answer"
    description: str | None = None

    @classmethod
    def of(cls, wish: Any) -> Self | None:
        """The format that is meant; None for none and for plain text.

        "json"; a JSON Schema; a pydantic model; OpenAI's `response_format` of the types text,
        json_object and json_schema (also as the Responses API writes it); and of the types regex
        (pattern) and lark (grammar), which are ingle's. Raises IngleError; UnsupportedError for
        what cannot be enforced.
        """
        if wish is None or wish == "text":
            return None
        if wish in ("json", "json_object"):
            return cls(Grammar.json_object(), {"type": "object"})
        if hasattr(wish, "model_json_schema"):
            schema = wish.model_json_schema()
            return cls(Grammar.json_schema(schema), schema, wish.__name__)
        if not isinstance(wish, Mapping):
            raise IngleError(_WHERE, f"a format must be a known one, but got {wish!r:.80}", _HINT)
        return cls._of_object(wish)

    @classmethod
    def _of_object(cls, wish: Mapping[str, Any]) -> Self | None:
        kind = wish.get("type")
        if kind in ("text", "json_object"):
            return cls.of(kind)
        if kind == "json_schema":
            return cls._of_json_schema(wish)
        if kind == "regex":
            return cls(Grammar.regex(wish.get("pattern", wish.get("regex"))))
        if kind in ("lark", "grammar"):
            return cls(Grammar.lark(wish.get("grammar", wish.get("lark"))))
        return cls(Grammar.json_schema(wish), wish)

    @classmethod
    def _of_json_schema(cls, wish: Mapping[str, Any]) -> Self:
        """Of OpenAI's Chat API, which nests it, and its Responses API, which does not."""
        inner = wish.get("json_schema", wish)
        if not isinstance(inner, Mapping) or "schema" not in inner:
            rule = "a format of type json_schema must hold a schema"
            raise IngleError(_WHERE, f"{rule}, but got {wish!r:.80}", _HINT)
        name, told = inner.get("name") or "answer", inner.get("description")
        if not isinstance(name, str) or not isinstance(told, str | None):
            rule = f"a format's name and description are text, but got {name!r:.40}, {told!r:.40}"
            raise IngleError(_WHERE, rule)
        schema = inner["schema"]
        return cls(Grammar.json_schema(schema), schema, name, told)
