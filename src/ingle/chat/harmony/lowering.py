"""Owns the way from a `Conversation`, in no model's format, to Harmony's messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ingle.chat.conversation import Conversation
from ingle.chat.harmony.content import (
    EFFORTS,
    FUNCTIONS,
    DeveloperContent,
    Effort,
    FunctionTool,
    HarmonyMessage,
    ResponseFormat,
    SystemContent,
    ToolNamespace,
)
from ingle.chat.harmony.policy import AnalysisPolicy, kept
from ingle.chat.harmony.render import render
from ingle.chat.harmony.tokens import ANALYSIS, COMMENTARY, CONSTRAIN_TEXT, FINAL
from ingle.chat.message import Message, ToolCall
from ingle.errors import IngleError

IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
_INSTRUCTING = ("system", "developer")
_EFFORT_LINE = re.compile(rf"(?im)^[ \t]*reasoning:[ \t]*({'|'.join(EFFORTS)})[ \t]*$\n?")


@dataclass(frozen=True)
class HarmonySettings:
    """What a conversation is rendered with, besides its messages.

    effort: of reasoning. None: what a line "Reasoning: high" in an instructing text says, which
    is then taken out of it; else medium. date: YYYY-MM-DD, frozen per conversation; None: none.
    tools: functions, declared in the developer message. builtins: `browser` and `python`, in the
    system message. constrain_calls: calls of the past are marked <|constrain|>json, as
    openai-harmony's examples are, or plain json.
    """

    effort: Effort | None = None
    date: str | None = None
    identity: str | None = IDENTITY
    knowledge_cutoff: str | None = "2024-06"
    tools: tuple[FunctionTool, ...] = ()
    builtins: tuple[ToolNamespace, ...] = ()
    response_formats: tuple[ResponseFormat, ...] = ()
    analysis: AnalysisPolicy = AnalysisPolicy.SINCE_LAST_FINAL
    constrain_calls: bool = True


def render_conversation(conversation: Conversation, settings: HarmonySettings) -> list[int]:
    """Ids that ask for the next reply: `lower`, the analysis policy, then `render`."""
    return render(kept(lower(conversation, settings), settings.analysis))


def lower(conversation: Conversation, settings: HarmonySettings) -> tuple[HarmonyMessage, ...]:
    """Harmony's messages for a conversation: system, developer, then what was said.

    System and developer texts that come first become the developer message's instructions; later
    ones are developer messages in their place. An assistant's turn told as one message becomes
    one message for its reasoning, its text and each of its calls; a message that has a channel
    or a recipient already is taken as it is. Raises IngleError.
    """
    messages = conversation.messages
    first = next((i for i, m in enumerate(messages) if not _instructs(m)), len(messages))
    instructions, stated = _instructions(messages[:first])
    spoken = _Spoken(settings)
    said = tuple(part for message in messages[first:] for part in spoken.parts(message))
    effort = settings.effort or stated or "medium"
    return (_system(settings, effort), *_developer(settings, instructions), *said)


def _instructs(message: Message) -> bool:
    return message.role in _INSTRUCTING and message.channel is None


def _instructions(messages: Iterable[Message]) -> tuple[str, Effort | None]:
    """The texts as one, and the effort that a line of theirs asks for."""
    text = "\n\n".join(message.content for message in messages if message.content)
    stated = _EFFORT_LINE.search(text)
    if stated is None:
        return text, None
    effort = next(effort for effort in EFFORTS if effort == stated[1].lower())
    return _EFFORT_LINE.sub("", text).strip("\n"), effort


def _system(settings: HarmonySettings, effort: Effort) -> HarmonyMessage:
    content = SystemContent(
        settings.identity,
        effort,
        settings.date,
        settings.knowledge_cutoff,
        namespaces=tuple(sorted(settings.builtins, key=lambda space: space.name)),
    )
    return HarmonyMessage("system", (content,))


def _developer(settings: HarmonySettings, instructions: str) -> Iterator[HarmonyMessage]:
    functions = (ToolNamespace(FUNCTIONS, None, settings.tools),) if settings.tools else ()
    content = DeveloperContent(instructions or None, functions, settings.response_formats)
    if content != DeveloperContent():
        yield HarmonyMessage("developer", (content,))


@dataclass
class _Spoken:
    """What was said, in order; tells which tool a result answers by the id of its call."""

    settings: HarmonySettings
    names: dict[str, str] = field(default_factory=dict)
    latest: str | None = None

    def parts(self, message: Message) -> Iterator[HarmonyMessage]:
        if message.role == "tool":
            yield self._result(message)
        elif message.channel is not None or message.recipient is not None:
            yield self._as_it_is(message)
        elif message.role == "assistant":
            yield from self._turn(message)
        else:
            role = "developer" if message.role == "system" else message.role
            yield HarmonyMessage(role, (message.content,), name=message.name)

    def _as_it_is(self, message: Message) -> HarmonyMessage:
        if message.role == "assistant" and message.recipient is not None:
            self.latest = message.recipient
            if message.tool_call_id is not None:
                self.names[message.tool_call_id] = message.recipient
        return HarmonyMessage(
            message.role,
            (message.content,),
            message.name,
            message.channel,
            message.recipient,
            message.content_type,
        )

    def _turn(self, message: Message) -> Iterator[HarmonyMessage]:
        if message.reasoning:
            yield HarmonyMessage("assistant", (message.reasoning,), channel=ANALYSIS)
        if message.content or not (message.tool_calls or message.reasoning):
            channel = COMMENTARY if message.tool_calls else FINAL
            yield HarmonyMessage("assistant", (message.content,), message.name, channel)
        for call in message.tool_calls:
            yield self._call(call)

    def _call(self, call: ToolCall) -> HarmonyMessage:
        recipient, channel, content_type = recipient_of(call.name, self.settings.builtins)
        if content_type == "json" and self.settings.constrain_calls:
            content_type = f"{CONSTRAIN_TEXT}json"
        self.latest = recipient
        if call.id is not None:
            self.names[call.id] = recipient
        return HarmonyMessage(
            "assistant", (call.arguments,), None, channel, recipient, content_type
        )

    def _result(self, message: Message) -> HarmonyMessage:
        """A tool's message: by the tool that was called, else the name it brings."""
        name = self.names.get(message.tool_call_id or "")
        if name is None and message.name is not None:
            name = recipient_of(message.name, self.settings.builtins)[0]
        name = name or self.latest
        if name is None:
            rule = "a tool's message answers a call, but got no call before it and no name"
            raise IngleError("messages", rule, "name the tool, or keep the message that called it")
        channel = message.channel or COMMENTARY
        recipient = message.recipient or "assistant"
        return HarmonyMessage("tool", (message.content,), name, channel, recipient)


def recipient_of(name: str, builtins: Iterable[ToolNamespace]) -> tuple[str, str, str]:
    """Recipient, channel and content type of a call to the tool that dialects call `name`.

    >>> recipient_of("get_weather", ())
    ('functions.get_weather', 'commentary', 'json')
    """
    if any(space.name == name.partition(".")[0] for space in builtins):
        return name, ANALYSIS, "code"
    plain = name if name.startswith(f"{FUNCTIONS}.") else f"{FUNCTIONS}.{name}"
    return plain, COMMENTARY, "json"
