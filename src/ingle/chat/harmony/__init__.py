"""Harmony, the conversation format of gpt-oss: exact rendering to ids, parsing that never fails.

It does not know models, sampling or HTTP.
"""

from ingle.chat.harmony.content import (
    DeveloperContent,
    FunctionTool,
    HarmonyMessage,
    ResponseFormat,
    SystemContent,
    ToolNamespace,
)
from ingle.chat.harmony.headers import HeaderGrammar
from ingle.chat.harmony.lowering import HarmonySettings, lower, render_conversation
from ingle.chat.harmony.parser import HarmonyParser, Phase
from ingle.chat.harmony.policy import AnalysisPolicy
from ingle.chat.harmony.render import render

__all__ = [
    "AnalysisPolicy",
    "DeveloperContent",
    "FunctionTool",
    "HarmonyMessage",
    "HarmonyParser",
    "HarmonySettings",
    "HeaderGrammar",
    "Phase",
    "ResponseFormat",
    "SystemContent",
    "ToolNamespace",
    "lower",
    "render",
    "render_conversation",
]
