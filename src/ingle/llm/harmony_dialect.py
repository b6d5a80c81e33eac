"""Owns how gpt-oss holds a conversation: Harmony, whatever template its file brings along.

It does not know engines.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from datetime import date
from typing import Any

from ingle.chat.conversation import Conversation
from ingle.chat.harmony import (
    FunctionTool,
    HarmonySettings,
    ResponseFormat,
    render_conversation,
)
from ingle.chat.harmony.content import EFFORTS, Effort
from ingle.chat.harmony.tokens import CHANNEL, END, FINAL, MESSAGE, START, VOCAB_SIZE
from ingle.chat.message import Message
from ingle.chat.openai_messages import read_messages
from ingle.errors import IngleError
from ingle.llm.constraint import harmony_constraint
from ingle.llm.dialect import Prepared, Turns, Wishes
from ingle.llm.harmony_reader import HarmonyReader
from ingle.tokenizer import Tokenizer, o200k_harmony

_MARKS = {"<|start|>": START, "<|channel|>": CHANNEL, "<|message|>": MESSAGE, "<|end|>": END}
_VARIABLES = ("date", "model_identity", "knowledge_cutoff", "reasoning_effort")
_DATES = 256


class HarmonyDialect:
    """By Harmony's own rules, in ids; tools are declared in the developer message."""

    def __init__(self) -> None:
        self._dates = ConversationDates()

    def prepare(self, turns: Turns, wishes: Wishes) -> Prepared:
        """The prompt for the next reply. Raises IngleError for what cannot be meant or enforced."""
        said = _messages(turns)
        effort, reasons = _effort(wishes)
        settings = self._settings(said, wishes, effort)
        calls_now = wishes.choice is not None and bool(wishes.choice.tools)
        opens = not reasons and not calls_now  # a reply that may call must choose its channel
        opened = [CHANNEL, *o200k_harmony().encode(FINAL), MESSAGE] if opens else []
        ids = render_conversation(Conversation(said), settings) + opened
        calls = wishes.choice is not None and bool(wishes.choice.declared)
        reader = HarmonyReader(wishes.stops, calls, wishes.num_calls, opened, wishes.id_prefix)
        return Prepared(ids, reader, harmony_constraint(wishes, reasons, tuple(opened)))

    def _settings(
        self, said: tuple[Message, ...], wishes: Wishes, effort: Effort | None
    ) -> HarmonySettings:
        given = _variables(wishes.variables)
        usual = HarmonySettings()
        declared = () if wishes.choice is None else wishes.choice.declared
        return HarmonySettings(
            effort=effort,
            date=given.get("date") or self._dates.of(said),
            identity=given.get("model_identity", usual.identity),
            knowledge_cutoff=given.get("knowledge_cutoff", usual.knowledge_cutoff),
            tools=tuple(FunctionTool(t.name, t.description, t.parameters) for t in declared),
            response_formats=_formats(wishes),
        )


class ConversationDates:
    """The day on which each conversation began, so that its prompts begin alike past midnight.

    Conversations are told apart by what was said up to the first answer, and the latest are kept;
    of those that begin in the same words, the last to begin.
    """

    def __init__(self) -> None:
        self._dates: OrderedDict[bytes, str] = OrderedDict()

    def of(self, said: tuple[Message, ...]) -> str:
        """YYYY-MM-DD: today where nothing was answered yet."""
        key, goes_on = hashlib.sha256(), False
        for message in said:
            if message.role in ("assistant", "tool"):
                goes_on = True
                break
            for text in (message.role, message.content):
                key.update(b"%d " % len(text) + text.encode("utf-8", "surrogatepass"))
        today, begun = date.today().isoformat(), key.digest()
        found = self._dates.get(begun, today) if goes_on else today
        self._dates[begun] = found
        self._dates.move_to_end(begun)
        if len(self._dates) > _DATES:
            self._dates.popitem(last=False)
        return found


def speaks_harmony(architecture: str | None, template: str | None, tokenizer: Tokenizer) -> bool:
    """Whether a model is gpt-oss by its architecture or template, and has Harmony's tokens."""
    specials = tokenizer.special_tokens
    if any(specials.get(text) != token_id for text, token_id in _MARKS.items()):
        return False
    is_theirs = "<|channel|>" in (template or "") and "<|message|>" in (template or "")
    return tokenizer.vocab_size <= VOCAB_SIZE and (architecture == "gpt_oss" or is_theirs)


def _messages(turns: Turns) -> tuple[Message, ...]:
    if not turns:
        rule = "messages are a list with at least one message, but got none"
        raise IngleError("messages", rule)
    found: list[Message] = []
    for turn in turns:
        found += [turn] if isinstance(turn, Message) else read_messages([turn])
    return tuple(found)


def _effort(wishes: Wishes) -> tuple[Effort | None, bool]:
    """The effort asked for, and whether to reason at all: "none" opens the answer at once."""
    wish: Any = wishes.reasoning
    if wish is None:
        wish = wishes.variables.get("reasoning_effort")
    if wish in (None, True, "on"):
        return None, True
    if wish in (False, "off", "none"):
        return "low", False
    for effort in EFFORTS:
        if wish == effort:
            return effort, True
    rule = f"it must be none, {', '.join(EFFORTS)}, on or off, but got {wish!r:.60}"
    raise IngleError("reasoning", rule)


def _variables(given: Mapping[str, Any]) -> dict[str, str]:
    where = "chat_template_kwargs"
    if not isinstance(given, Mapping):
        rule = f"it must be an object of names and values, but got {given!r:.60}"
        raise IngleError(where, rule)
    for name, value in given.items():
        if name not in _VARIABLES:
            rule = f"a variable must be one of {', '.join(_VARIABLES)}, but got {name!r:.60}"
            raise IngleError(where, rule)
        if not isinstance(value, str):
            raise IngleError(f"{where}.{name}", f"it must be text, but got {value!r:.60}")
    return dict(given)


def _formats(wishes: Wishes) -> tuple[ResponseFormat, ...]:
    """What the model is told of the format that its answer is held to."""
    wish = wishes.format
    if wish is None or wish.schema is None:
        return ()
    return (ResponseFormat(wish.name, wish.schema, wish.description),)
