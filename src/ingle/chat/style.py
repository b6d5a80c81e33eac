"""Owns styles of answers: what a model is asked for, and the grammar that holds it to it.

"structured" is an answer in four parts: the question restated, numbered points, a conclusion and,
where there are any, suggestions. Headings are the model's own, in the question's language. It does
not know chat formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ingle.chat.answer_format import AnswerFormat
from ingle.chat.constraint.grammar import Grammar
from ingle.errors import IngleError, UnsupportedError

STYLES = ("structured",)
MAX_POINTS = 12
_MAX_SUGGESTIONS = 6

_MARKDOWN = """\
Answer in the language of the question, in Markdown, in exactly these parts:
## (a heading: the question)
The question in your own words, in one paragraph.

## (a heading: the answer)
1. A point, in one paragraph.
2. The next point, and so on.

## (a heading: the conclusion)
One paragraph.

## (a heading: suggestions; leave this part out if there are none)
- One suggestion a line."""

_JSON = """\
Answer in the language of the question, as one JSON object: "question" restates the question in \
your own words; "points" are the points of the answer, in order; "conclusion" is one paragraph; \
"suggestions" are what else to do, and may be left out."""

_TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
_TEXT = {"type": "string", "minLength": 1}
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "question": _TEXT,
        "points": {**_TEXTS, "maxItems": MAX_POINTS},
        "conclusion": _TEXT,
        "suggestions": {**_TEXTS, "maxItems": _MAX_SUGGESTIONS},
    },
    "required": ["question", "points", "conclusion"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Style:
    """instructions: what a model is told. format: what its answer is held to."""

    instructions: str
    format: AnswerFormat

    @classmethod
    def of(cls, name: Any, wish: Any = None) -> Self:
        """A style by its name; wish: "json" has the parts as JSON, else they are Markdown.

        Raises IngleError for a name that is none, UnsupportedError for another format.
        """
        if name not in STYLES:
            rule = f"a style must be one of {', '.join(STYLES)}, but got {name!r:.60}"
            raise IngleError("style", rule)
        if wish in ("json", {"type": "json_object"}):
            return cls(_JSON, AnswerFormat(Grammar.json_schema(SCHEMA), SCHEMA, "structured"))
        if wish not in (None, "text", {"type": "text"}):
            rule = f"a style has its own format, as Markdown or JSON, but got {wish!r:.60} too"
            raise UnsupportedError("format", rule, 'leave one of them out, or say "json"')
        return cls(_MARKDOWN, AnswerFormat(Grammar.lark(_lark())))


def _lark() -> str:
    """The parts as Markdown: one paragraph is one line, and no line of it looks like a part."""
    points = ""
    for number in range(MAX_POINTS, 0, -1):
        rest = f" (NL {points})?" if points else ""
        points = f'"{number}. " LINE{rest}'
    more = _MAX_SUGGESTIONS - 1
    return (
        "start: part NL NL HEADING NL points NL NL part (NL NL HEADING NL suggestions)?\n"
        "part: HEADING NL PARAGRAPH\n"
        f"points: {points}\n"
        f'suggestions: "- " LINE (NL "- " LINE){{0,{more}}}\n'
        'NL: "\\n"\nLINE: /[^\\n ][^\\n]*/\n'
        "HEADING: /## [^#(\\n ][^\\n]{0,79}/\n"
        "PARAGRAPH: /[^#\\n \\-0-9][^\\n]*/\n"
    )
