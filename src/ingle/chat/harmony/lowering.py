"""Owns the way from a `Conversation`, in no model's format, to Harmony's messages."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingle.chat.conversation import Conversation
from ingle.chat.harmony.content import (
    Effort,
    FunctionTool,
    HarmonyMessage,
    ResponseFormat,
    ToolNamespace,
)
from ingle.chat.harmony.policy import AnalysisPolicy


@dataclass(frozen=True)
class HarmonySettings:
    """What a conversation is rendered with, besides its messages.

    effort: of reasoning; "Reasoning: high" on a line of its own in a system text wins over None.
    date: YYYY-MM-DD, frozen per conversation. tools: functions, declared to the model in the
    developer message. builtins: `browser` and `python`, in the system message. constrain_calls:
    calls of the past are marked <|constrain|>json, as openai-harmony writes them, or just json.
    """

    effort: Effort | None = None
    date: str | None = None
    identity: str | None = "You are ChatGPT, a large language model trained by OpenAI."
    knowledge_cutoff: str | None = "2024-06"
    tools: tuple[FunctionTool, ...] = ()
    builtins: tuple[ToolNamespace, ...] = ()
    response_formats: tuple[ResponseFormat, ...] = field(default=())
    analysis: AnalysisPolicy = AnalysisPolicy.SINCE_LAST_FINAL
    constrain_calls: bool = True


def lower(conversation: Conversation, settings: HarmonySettings) -> tuple[HarmonyMessage, ...]:
    """Harmony's messages for a conversation: system, developer, then what was said.

    System and developer texts become the developer message's instructions. An assistant's turn
    told as one message becomes one message for its reasoning, its text and each of its calls; a
    message that has a channel already is taken as it is. Raises IngleError.
    """
    raise NotImplementedError


def render_conversation(conversation: Conversation, settings: HarmonySettings) -> list[int]:
    """Ids that ask for the next reply: `lower`, the analysis policy, then `render`."""
    raise NotImplementedError
