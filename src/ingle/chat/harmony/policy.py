"""Owns the choice of which reasoning of the past a model is shown again."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from ingle.chat.harmony.content import HarmonyMessage
from ingle.chat.harmony.tokens import ANALYSIS, FINAL


class AnalysisPolicy(StrEnum):
    """Which messages on the channel "analysis" are rendered.

    SINCE_LAST_FINAL: those after the last answer, so that calls of a turn keep their reasons and
    turns that are over do not. LIBRARY: openai-harmony's `auto_drop_analysis`, which drops what
    stands before the *first* answer, and only if the assistant's last message is an answer.
    """

    SINCE_LAST_FINAL = "since-last-final"
    LIBRARY = "library"
    KEEP_ALL = "keep-all"


def kept(messages: Sequence[HarmonyMessage], policy: AnalysisPolicy) -> tuple[HarmonyMessage, ...]:
    """The messages that are rendered under a policy, in order."""
    if policy is AnalysisPolicy.KEEP_ALL:
        return tuple(messages)
    start = _first_kept(messages, policy)
    return tuple(m for i, m in enumerate(messages) if i >= start or m.channel != ANALYSIS)


def _first_kept(messages: Sequence[HarmonyMessage], policy: AnalysisPolicy) -> int:
    """Index before which analysis is dropped."""
    answers = [i for i, message in enumerate(messages) if message.channel == FINAL]
    if policy is AnalysisPolicy.SINCE_LAST_FINAL:
        return answers[-1] if answers else 0
    said = [message for message in messages if message.role == "assistant"]
    return answers[0] if said and said[-1].channel == FINAL and answers else 0
