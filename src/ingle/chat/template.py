"""Owns rendering a conversation through the chat template that a checkpoint brings along.

`render` gives text; `render_ids` gives ids, in which only the template's own words become special
tokens, never what somebody said. It does not know Harmony, which needs no template.
"""

from __future__ import annotations

import re
import secrets
import warnings
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError

from ingle.chat.budget import Budget, budget
from ingle.chat.conversation import ROLES, Conversation, Message
from ingle.chat.sandbox import TemplateEnvironment
from ingle.errors import IngleError, UnsupportedError
from ingle.tokenizer import Tokenizer

MAX_TEMPLATE_CHARS = 1 << 20
_WHERE = "chat template"
_NEVER = r"(?!)"

Messages = Conversation | Iterable[Message | Mapping[str, Any]]


def render(
    template: str, messages: Messages, add_generation_prompt: bool = True, **variables: Any
) -> str:
    """Text of `messages` by a Jinja chat template, as transformers' `apply_chat_template`.

    variables: what else the template may name: bos_token, tools, documents, enable_thinking ...
    Raises IngleError when the template refuses the conversation, is wrong, or exceeds its limits.
    """
    given = {"tools": None, "documents": None, **variables}
    given |= {"messages": _as_dicts(messages), "add_generation_prompt": add_generation_prompt}
    compiled = _compile(template)
    token = budget.set(Budget())
    try:
        return "".join(compiled.generate(**given))
    except TemplateError as error:
        raise IngleError(_WHERE, f"rendering must succeed, but got: {_line(error)}") from None
    except Exception as error:  # any operation of the template may fail in its own way
        said = f"{type(error).__name__}: {_line(error)}"
        raise IngleError(_WHERE, f"rendering must succeed, but got {said}") from None
    finally:
        budget.reset(token)


def render_ids(
    tokenizer: Tokenizer,
    template: str,
    messages: Messages,
    add_generation_prompt: bool = True,
    **variables: Any,
) -> list[int]:
    """Ids of `messages` by a chat template; bos_token and eos_token are the tokenizer's.

    A special token spelled out in a message, a tool or another variable stays ordinary text. What
    the assistant said may hold tokens that are visible text (<think>), as it did when generated.
    """
    shield = _Shield(tokenizer)
    tokens = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id}
    named = {key: "" if i is None else tokenizer.decode([i]) for key, i in tokens.items()}
    text = render(
        template,
        [shield.message(message) for message in _as_dicts(messages)],
        add_generation_prompt,
        **{key: shield.value(value) for key, value in variables.items()} | named,
    )
    ids: list[int] = []
    for ordinary, special in tokenizer.split_specials(text):
        ids += tokenizer.encode(shield.lift(ordinary))
        if special is not None:
            ids.append(special)
    return ids


class _Shield:
    """Keeps special tokens from forming in text that a template will rearrange.

    Wherever a special token could begin, its first character is replaced by random digits, known
    to nobody else, and put back after the rendered text was split at its special tokens. That
    holds even if the token's rest comes from elsewhere. Digits survive any filter.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        specials = tokenizer.special_tokens
        control = [text for text, i in specials.items() if i in tokenizer.control_ids]
        self._beginnings = _beginnings(specials)
        self._control_beginnings = _beginnings(control)
        firsts = {text[0] for text in specials}
        self._stand_ins = {first: str(10**23 + secrets.randbelow(9 * 10**23)) for first in firsts}
        self._firsts = {stand_in: first for first, stand_in in self._stand_ins.items()}
        self._any_stand_in = re.compile("|".join(self._firsts) or _NEVER)

    def message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """`message` with its values shielded, the assistant's only from control tokens.

        Its keys, and a role that is known, steer the template and are left alone.
        """
        role = message.get("role")
        found = self._control_beginnings if role == "assistant" else self._beginnings
        values = {key: self.value(value, found) for key, value in message.items()}
        return values | ({"role": role} if role in ROLES else {})

    def value(self, value: Any, beginnings: re.Pattern[str] | None = None) -> Any:
        """`value` with every string in it shielded."""
        found = beginnings or self._beginnings
        if isinstance(value, str):
            return found.sub(lambda match: self._stand_ins[match[0]], value)
        if isinstance(value, Mapping):
            return {self.value(k, found): self.value(v, found) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item, found) for item in value]
        return value

    def lift(self, text: str) -> str:
        """`text` as it was before."""
        return self._any_stand_in.sub(lambda match: self._firsts[match[0]], text)


def _beginnings(specials: Iterable[str]) -> re.Pattern[str]:
    """First characters of special tokens, where the second may follow, now or after trimming."""
    seconds: dict[str, set[str]] = {}
    for special in specials:
        second = special[1:2]
        either_case = {second, second.lower(), second.upper()}
        seconds.setdefault(special[0], set()).update(map(re.escape, either_case))
    return re.compile(
        "|".join(rf"{re.escape(a)}(?={'|'.join(b)}|\s|\Z)" for a, b in seconds.items()) or _NEVER
    )


def check_jinja(template: str, where: str) -> None:
    """Raise IngleError naming `where` unless a template compiles."""
    try:
        _compile(template)
    except IngleError as error:
        raise type(error)(where, error.rule, error.hint) from None


@cache
def _environment() -> TemplateEnvironment:
    return TemplateEnvironment()


@lru_cache(maxsize=8)
def _compile(template: str) -> Any:
    if len(template) > MAX_TEMPLATE_CHARS:
        rule = f"a template has at most {MAX_TEMPLATE_CHARS} characters, but got {len(template)}"
        raise UnsupportedError(_WHERE, rule)
    try:
        with warnings.catch_warnings():  # Python warns about what the template compiled to
            warnings.simplefilter("ignore")
            return _environment().compile_template(template)
    except TemplateSyntaxError as error:
        rule = f"it is a Jinja template, but got: {_line(error)} in line {error.lineno}"
        raise IngleError(_WHERE, rule) from None
    except Exception as error:  # nesting too deep for Python's compiler, a filter unknown to jinja2
        said = f"{type(error).__name__}: {_line(error)}"
        raise IngleError(_WHERE, f"it compiles, but got {said}") from None


def _as_dicts(messages: Messages) -> list[dict[str, Any]]:
    said = messages.messages if isinstance(messages, Conversation) else messages
    return [m.as_dict() if isinstance(m, Message) else dict(m) for m in said]


def _line(error: Exception) -> str:
    """An error's text without what a hostile template could do to a terminal."""
    text = " ".join(str(error).split())[:300].rstrip(".")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
