"""Owns what Harmony's system and developer messages say, as data; `prose` writes it out.

The shapes are those of openai-harmony 0.0.8. It does not know tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ingle.chat.harmony.tokens import CHANNELS

Effort = Literal["low", "medium", "high"]
EFFORTS: tuple[Effort, ...] = ("low", "medium", "high")
FUNCTIONS = "functions"


@dataclass(frozen=True)
class FunctionTool:
    """A function that may be called. parameters: JSON Schema of its one object; None: takes none.

    A schema that is no object is shown as `any`; it must not change while the tool is in use.
    """

    name: str
    description: str = ""
    parameters: Any = None


@dataclass(frozen=True)
class ToolNamespace:
    """Tools called as `name`, a dot, and their own name; where there are none, `name` is called.

    key: what openai-harmony's JSON files it under, where that is not its name.
    """

    name: str
    description: str | None = None
    tools: tuple[FunctionTool, ...] = ()
    key: str | None = None

    @property
    def has_functions(self) -> bool:
        """Whether these are function tools, of which the system message tells."""
        return (self.name if self.key is None else self.key) == FUNCTIONS and bool(self.tools)


@dataclass(frozen=True)
class ResponseFormat:
    """A JSON Schema that answers are asked to follow. name: of the section that shows it."""

    name: str
    schema: Mapping[str, Any]
    description: str | None = None


@dataclass(frozen=True)
class SystemContent:
    """What a system message says. None leaves a part out.

    date: YYYY-MM-DD, the same throughout a conversation. namespaces: in the order shown.
    """

    identity: str | None = "You are ChatGPT, a large language model trained by OpenAI."
    effort: Effort | None = "medium"
    date: str | None = None
    knowledge_cutoff: str | None = "2024-06"
    channels: tuple[str, ...] | None = CHANNELS
    channel_required: bool = True
    namespaces: tuple[ToolNamespace, ...] = ()


@dataclass(frozen=True)
class DeveloperContent:
    """What a developer message says: instructions, function tools, formats of the answer."""

    instructions: str | None = None
    namespaces: tuple[ToolNamespace, ...] = ()
    response_formats: tuple[ResponseFormat, ...] = ()

    @property
    def has_functions(self) -> bool:
        """Whether function tools are declared, of which the system message then tells."""
        return any(space.has_functions for space in self.namespaces)


Content = str | SystemContent | DeveloperContent


@dataclass(frozen=True)
class HarmonyMessage:
    """A message as Harmony writes it; `content` is joined without a separator."""

    role: str
    content: tuple[Content, ...]
    name: str | None = None
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None
