"""Owns what an answer may say as a grammar, checked when it is made: nothing in it is ignored.

The grammars are llguidance's (https://github.com/guidance-ai/llguidance): JSON Schema 2020-12 as
far as it can be decided token by token, regular expressions without look-around, and Lark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from llguidance import LLMatcher

from ingle.chat.constraint.references import check_references
from ingle.errors import IngleError, UnsupportedError

_WHERE = "format"
_MAX_CHARS = 1 << 20
# One blank, or one line break and its indent: a model that may write any number of blanks would.
WHITESPACE = r"(?:[ ]|\n[ ]{0,16})"


@dataclass(frozen=True)
class Grammar:
    """A checked grammar. kind: "json", "regex" or "lark". source: in llguidance's notation.

    left_out: what `json_schema` was allowed to leave to a later check. where: the wish that it
    comes from, for mistakes.
    """

    kind: str
    source: str
    left_out: tuple[str, ...] = ()
    where: str = _WHERE

    @classmethod
    def json_schema(cls, schema: Any, where: str = _WHERE, lenient: bool = False) -> Self:
        """JSON that follows a schema; properties come in the schema's order.

        lenient: what cannot be enforced is left out and told by `left_out`; what it allows is
        then more than the schema does. Raises UnsupportedError for what cannot be enforced,
        IngleError for what is no schema.
        """
        if schema is True:
            schema = {}
        if not isinstance(schema, Mapping):
            raise IngleError(where, f"a JSON Schema is an object, but got {schema!r:.80}")
        try:
            text = json.dumps(schema)
        except (TypeError, ValueError, RecursionError) as error:
            raise IngleError(where, f"a schema must be JSON, but got {error!s:.100}") from None
        _check_size(text, where)
        options: Any = {"whitespace_pattern": WHITESPACE, "lenient": lenient}
        try:
            source = LLMatcher.grammar_from_json_schema(text, overrides=options)
        except ValueError as error:  # its parser has a limit of nesting
            raise _refusal(where, "a schema must be read", [str(error)]) from None
        check_references(schema, where)
        failed, said = LLMatcher.validate_grammar_with_warnings(source)
        if failed or (said and not lenient):
            raise _refusal(where, "a schema must be enforceable", said)
        return cls("json", source, tuple(said), where)

    @classmethod
    def json_object(cls) -> Self:
        """Any JSON object."""
        return cls.json_schema({"type": "object"})

    @classmethod
    def regex(cls, pattern: Any, where: str = _WHERE) -> Self:
        """Text that matches the whole of a regular expression, in Rust's syntax.

        Raises IngleError.
        """
        if not isinstance(pattern, str):
            raise IngleError(where, f"a regular expression is text, but got {pattern!r:.80}")
        _check_size(pattern, where)
        return cls._checked("regex", LLMatcher.grammar_from_regex(pattern), where)

    @classmethod
    def lark(cls, text: Any, where: str = _WHERE) -> Self:
        """Text of a Lark grammar (llguidance's dialect) whose first rule is `start`.

        Raises IngleError, also where the grammar names special tokens, which are no text.
        """
        if not isinstance(text, str):
            raise IngleError(where, f"a grammar is text, but got {text!r:.80}")
        _check_size(text, where)
        return cls._checked("lark", LLMatcher.grammar_from_lark(text), where)

    @classmethod
    def trusted_lark(cls, text: str, where: str = _WHERE) -> Self:
        """Of a Lark grammar that ingle wrote, which may name special tokens by id."""
        return cls("lark", LLMatcher.grammar_from_lark(text), where=where)

    @property
    def spec(self) -> dict[str, str]:
        """What `of_spec` makes the same grammar of: text alone."""
        return {"kind": self.kind, "source": self.source}

    @classmethod
    def of_spec(cls, spec: Any) -> Self:
        """The grammar of a spec. Raises IngleError for what is none."""
        if not isinstance(spec, Mapping) or not all(
            isinstance(spec.get(name), str) for name in ("kind", "source")
        ):
            raise IngleError("grammar", f"a grammar has a kind and a source, but got {spec!r:.80}")
        return cls(spec["kind"], spec["source"])

    @classmethod
    def _checked(cls, kind: str, source: str, where: str) -> Self:
        failed, said = LLMatcher.validate_grammar_with_warnings(source)
        if failed or said:
            raise _refusal(where, f"a {kind} must be enforceable", said)
        return cls(kind, source, where=where)


def _check_size(text: str, where: str) -> None:
    if len(text) > _MAX_CHARS:
        rule = f"a format has at most {_MAX_CHARS} characters, but got {len(text)}"
        raise UnsupportedError(where, rule)


def _refusal(where: str, rule: str, said: list[str]) -> UnsupportedError:
    reason = " ".join(" ".join(said).split()).rstrip(".")[:300]
    shown = "".join(c if c.isprintable() else "\ufffd" for c in reason)
    hint = "leave that part out, or check it yourself afterwards"
    return UnsupportedError(where, f"{rule}, but got: {shown}", hint)
