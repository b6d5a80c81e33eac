"""Owns one conversation as the command line holds it: who is asked, how, and what was said.

It does not know terminals, files or the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ingle.cli.request import Options, check_reasoning, read_parameter

Messages = list[dict[str, str]]


@dataclass
class Session:
    """A conversation and its settings, which may change between two messages.

    messages: role and content of what was said, without the system's, and `cut` where an answer
    did not end by itself: why. sampling: the options of ingle.llm.GenerateOptions. chosen: what was
    set in the chat and is kept with it: sampling options, reasoning, hide_reasoning. wishes: other
    options of ingle.llm.ChatOptions, which are not kept. saved_id: its row where conversations are
    kept, None before.
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
    chosen: dict[str, Any] = field(default_factory=dict)
    wishes: dict[str, Any] = field(default_factory=dict)

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
            wishes={} if options.raw else options.wishes.chat_options(),
        )

    def asking(self, prompt: str) -> Messages:
        """All that the model is to be told if `prompt` comes next."""
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        said = [{"role": one["role"], "content": one["content"]} for one in self.messages]
        return [*system, *said, {"role": "user", "content": prompt}]

    @property
    def chat_options(self) -> dict[str, Any]:
        """The options of `LLM.chat`."""
        return {**self.sampling, "reasoning": self.reasoning, **self.wishes}

    def add(self, prompt: str, answer: str, cut: str = "") -> None:
        """Both said: a prompt and its answer, without its reasoning. cut: why it ended early."""
        self.messages.append({"role": "user", "content": prompt})
        marked = {"cut": cut} if cut else {}
        self.messages.append({"role": "assistant", "content": answer, **marked})

    def choose(self, name: str, value: Any) -> None:
        """Set a sampling option, `reasoning` or `hide_reasoning`; None: as if never said."""
        self._put(name, value)
        self.chosen[name] = value
        if value is None:
            del self.chosen[name]

    def resume(self, chosen: dict[str, Any]) -> None:
        """Choose again what was chosen in a conversation that goes on; what was typed now wins.

        Raises IngleError for what cannot have been chosen.
        """
        for name in list(self.chosen):
            self.choose(name, None)
        for name, value in chosen.items():
            own, checked = _checked(name, value)
            if self._get(own) is None or self._get(own) is False:
                self.choose(own, checked)

    def _get(self, name: str) -> Any:
        return getattr(self, name) if name in _OWN else self.sampling.get(name)

    def _put(self, name: str, value: Any) -> None:
        if name == "hide_reasoning":
            self.hide_reasoning = bool(value)
        elif name == "reasoning":
            self.reasoning = value
        else:
            self.sampling[name] = value

    def forget(self) -> None:
        """Begin anew under the same settings."""
        self.messages, self.saved_id, self.name = [], None, None


_OWN = ("reasoning", "hide_reasoning")


def _checked(name: str, value: Any) -> tuple[str, Any]:
    if name == "hide_reasoning":
        return name, bool(value)
    if name == "reasoning":
        check_reasoning(str(value), "reasoning")
        return name, str(value)
    return read_parameter(name, str(value))
