"""Owns what one rendering of a chat template may use up: steps, characters, time.

Where one operation could make something huge, it is charged before it is done. One long comparison
of nested values is not interrupted. It does not know how a template is run.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError

MAX_CHARS = 1 << 25
_MAX_STEPS = 500_000
_MAX_SECONDS = 2.0
_MAX_INT_BITS = 4096
_MAX_INDENT = 16


@dataclass
class Budget:
    """What one rendering may still use up."""

    steps: int = _MAX_STEPS
    chars: int = MAX_CHARS
    deadline: float = field(default_factory=lambda: time.monotonic() + _MAX_SECONDS)

    def spend(self, steps: int, chars: int = 0) -> None:
        self.steps -= steps
        self.chars -= chars
        if self.steps < 0:
            raise TemplateError(f"it takes more than {_MAX_STEPS} steps")
        if self.chars < 0:
            raise TemplateError(f"it makes more than {MAX_CHARS} characters")
        if time.monotonic() > self.deadline:
            raise TemplateError(f"it takes more than {_MAX_SECONDS:.0f} seconds")


budget: ContextVar[Budget] = ContextVar("budget")
"""Set anew for each rendering; templates are compiled once and shared."""


def measured(value: Any) -> Any:
    """`value`, once it is known that writing it out whole stays within the budget.

    Lists may hold one list many times over, so a small value can be long when written.
    """
    if isinstance(value, list | tuple | dict):
        budget.get().spend(1, 2 * len(value))
        for item in value.values() if isinstance(value, dict) else value:
            measured(item)
    elif isinstance(value, str):
        budget.get().spend(0, len(value))
    return value


def size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | dict | range) else 0


def charge_binop(operator: str, left: Any, right: Any) -> None:
    spend = budget.get().spend
    if operator == "%" and isinstance(left, str):
        raise TemplateError("formatting with % is not supported")
    if operator == "+":
        spend(0, size(left) + size(right))
    if operator == "*":
        for value, times in ((left, right), (right, left)):
            if isinstance(times, int):
                spend(0, size(value) * max(times, 0))
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length()
        if operator == "*" and bits + right.bit_length() > _MAX_INT_BITS:
            raise TemplateError("it multiplies numbers that are too large")
        if operator == "**" and bits * abs(right) > _MAX_INT_BITS:
            raise TemplateError("it raises numbers to powers that are too large")


def charge_text_method(text: str, name: str, args: tuple[Any, ...]) -> None:
    budget.get().spend(0, len(text))
    if name == "replace":
        charge_replace(text, args)
    if name == "join" and args and size(args[0]):
        charge_join(text, args[0])


def charge_replace(text: str, args: tuple[Any, ...]) -> None:
    old, new = (str(arg) for arg in (*args, "", "")[:2])
    budget.get().spend(0, text.count(old) * len(new))


def charge_join(separator: Any, values: Any) -> None:
    budget.get().spend(0, len(values) * size(separator))
    measured(list(values))


def check_indent(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if (isinstance(value, int) and value > _MAX_INDENT) or size(value) > _MAX_INDENT:
            raise TemplateError(f"it indents by more than {_MAX_INDENT}")
