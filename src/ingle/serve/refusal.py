"""Owns what a mistake comes to over HTTP: a status and words, in no dialect yet.

It does not know routes, nor how any API writes an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ingle.errors import (
    IngleError,
    ModelNotFoundError,
    PromptTooLongError,
    UnreachableError,
    UnsupportedError,
)
from ingle.runtime import BusyError, DeadlineError

_SHOWN = 80  # characters of a value that is wrong
_TOOL = "tool "  # before a tool's name, where it is the place of a mistake


@dataclass(frozen=True)
class Refusal:
    """message: for a person. where: the field that is wrong, if one is. code: for programs.

    sizes: of a prompt that is too long, its tokens and the most there may be.
    """

    status: int
    message: str
    where: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    sizes: tuple[int, int] | None = None


def refusal_of(error: Exception) -> Refusal:
    """What to answer to whatever a request has met."""
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        code = "invalid_api_key" if error.status_code == 401 else None
        headers = dict(error.headers or {})
        return Refusal(error.status_code, str(error.detail), code=code, headers=headers)
    if isinstance(error, BusyError):
        return _overloaded(str(error), error.retry_after_s)
    if isinstance(error, DeadlineError):
        return Refusal(504, str(error), code="timeout")
    if isinstance(error, ModelNotFoundError):
        return Refusal(404, str(error), "model", "model_not_found")
    if isinstance(error, UnreachableError):
        return Refusal(502, str(error))
    if isinstance(error, PromptTooLongError):
        sizes = error.num_tokens, error.context
        return Refusal(400, str(error), error.where, "context_length_exceeded", sizes=sizes)
    if isinstance(error, IngleError):
        return Refusal(400, str(error), error.where)
    if isinstance(error, MemoryError):
        return _overloaded("the server has no memory left for this request", 1.0)
    return Refusal(500, "the server met a bug of its own; its log says more")


@contextmanager
def named(names: Mapping[str, str]) -> Iterator[None]:
    """Mistakes are told by the names that a dialect has for options; those in tools, of `tools`."""
    try:
        yield
    except IngleError as error:
        if type(error) not in (IngleError, UnsupportedError):
            raise
        where, rule = names.get(error.where), error.rule
        if where is not None:
            rule = f"{where}{rule.removeprefix(error.where)}" if _begins(error) else rule
        if error.where.startswith(_TOOL):
            where, rule = "tools", f"{error.where}: {rule}"
        if where is None:
            raise
        raise type(error)(where, rule, error.hint) from None


def _begins(error: IngleError) -> bool:
    """Whether the rule repeats the name: ``top_p must be ...``."""
    return error.rule.startswith(f"{error.where} ")


def _overloaded(message: str, wait_s: float) -> Refusal:
    headers = {"Retry-After": str(max(1, math.ceil(wait_s)))}
    return Refusal(503, message, code="overloaded", headers=headers)


def _invalid(error: RequestValidationError) -> Refusal:
    """The first field that is wrong; of the types it may have, by the one that fits best."""
    first: dict[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        said = f"[body] the body must be JSON, but got an error at character {first['loc'][-1]}."
        return Refusal(400, said)
    where = _field(first, error.body)
    for other in error.errors():
        inner = _field(other, error.body)
        if where and inner.startswith(f"{where}."):
            first, where = other, inner
    rule, got = str(first["msg"]).lower(), repr(first.get("input"))[:_SHOWN]
    return Refusal(400, f"[{where or 'body'}] {rule}, but got {got}.", where or None)


def _field(mistake: Mapping[str, Any], body: Any) -> str:
    """The path of a field in the body, without the types that it was read as, one by one."""
    kind, *parts = mistake["loc"]
    if kind != "body":
        return ".".join(map(str, parts))
    found: list[str] = []
    for at, part in enumerate(parts):
        is_name = isinstance(body, Mapping) and part in body
        is_place = isinstance(body, list) and isinstance(part, int) and part < len(body)
        if is_name or is_place:
            body = body[part]
            found.append(str(part))
        elif mistake["type"] == "missing" and at == len(parts) - 1:
            found.append(str(part))
    return ".".join(found)
