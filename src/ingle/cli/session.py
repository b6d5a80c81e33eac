"""Owns one conversation as the command line holds it: who is asked, how, and what was said.

It does not know terminals, files or the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ingle.cli.request import Options

Messages = list[dict[str, str]]


@dataclass
class Session:
    """A conversation and its settings, which may change between two messages.

    messages: role and content of what was said, without the system's. sampling: the options of
    ingle.llm.GenerateOptions. saved_id: its row where conversations are kept, None before.
    """

    model: str
    sampling: dict[str, Any]
    system: str | None = None
    reasoning: str | None = None
    hide_reasoning: bool = False
    verbose: bool = False
    messages: Messages = field(default_factory=list)
    saved_id: int | None = None
    name: str | None = None

    @classmethod
    def begin(cls, model: str, options: Options) -> Session:
        """A new conversation under the options of the command line."""
        return cls(
            model,
            dict(options.sampling),
            options.system,
            options.reasoning,
            options.hide_reasoning,
            options.verbose,
        )

    def asking(self, prompt: str) -> Messages:
        """All that the model is to be told if `prompt` comes next."""
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, *self.messages, {"role": "user", "content": prompt}]

    @property
    def chat_options(self) -> dict[str, Any]:
        """The options of `LLM.chat`."""
        return {**self.sampling, "reasoning": self.reasoning}

    def add(self, prompt: str, answer: str) -> None:
        """Both said: a prompt and its answer, without its reasoning."""
        self.messages.append({"role": "user", "content": prompt})
        self.messages.append({"role": "assistant", "content": answer})

    def forget(self) -> None:
        """Begin anew under the same settings."""
        self.messages, self.saved_id, self.name = [], None, None
