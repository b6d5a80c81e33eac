"""Owns the chat at the terminal: messages in, answers out, each turn saved.

It does not know how a conversation becomes a prompt (`llm.chat` does), how messages are typed
(`editor`), nor what the commands do (`chat_commands`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ingle.cli.answer import Display, PlainDisplay, show
from ingle.cli.archive import Archive
from ingle.cli.chat_commands import NAMES, Commands, is_command
from ingle.cli.editor import editor, silent_keys
from ingle.cli.note import note
from ingle.cli.report import cut_note, tell, why_cut
from ingle.cli.request import Options
from ingle.cli.session import Session
from ingle.errors import IngleError

if TYPE_CHECKING:
    from ingle.llm import LLM


class Talk:
    """One sitting of a person at a terminal with a model."""

    def __init__(
        self, llm: LLM, session: Session, options: Options, archive: Archive, folder: Path
    ) -> None:
        self._llm, self._session, self._options = llm, session, options
        self._archive, self._saves = archive, options.save
        self._commands = Commands(llm, session, archive)
        self._history = folder / "history"

    def hold(self) -> None:
        """Read and answer messages until /bye or the end of input."""
        read = editor(self._history, NAMES)
        self._greet()
        while True:
            try:
                message = read().strip()
                if message and not self._take(message):
                    return
            except EOFError:
                note()
                return
            except KeyboardInterrupt:
                note("\n/bye or Ctrl-D leaves")

    def _greet(self) -> None:
        count = len(self._session.messages)
        going_on = f" Going on after {count} messages." if count else ""
        chosen = ", ".join(f"{name} {value}" for name, value in self._session.chosen.items())
        note(f"{self._session.model}. /help shows the commands.{going_on}")
        if chosen:
            note(f"as set before: {chosen}")

    def _take(self, message: str) -> bool:
        """Do what a message asks; False ends the chat. Mistakes are told, and the chat goes on."""
        try:
            if is_command(message):
                return self._command(message)
            self._ask(message)
        except IngleError as error:
            note(error)
        return True

    def _command(self, message: str) -> bool:
        session = self._session
        before = (session.system, {**session.chosen})
        goes_on = self._commands.take(message)
        if session.saved_id is not None and before != (session.system, session.chosen):
            self._save()
        return goes_on

    def _ask(self, message: str) -> None:
        """Answer one message; what fails leaves the conversation as it was."""
        session = self._session
        try:
            message.encode()
            said = session.asking(message)
            stream = self._llm.chat(said, stream=True, **session.chat_options)
            hide, at_once = session.hide_reasoning, self._options.at_once
            with silent_keys():
                text = show(stream, _display(), hide, at_once, stoppable=True)
        except KeyboardInterrupt:  # before the first token
            note()
            return
        except UnicodeEncodeError:
            rule = "a prompt must be UTF-8, but got other bytes"
            raise IngleError("PROMPT", rule, "a terminal set to UTF-8 types it") from None
        print(flush=True)
        completion = stream.completion
        cut = why_cut(completion, self._llm.context_tokens)
        session.add(message, text, cut)
        if cut:
            note(cut_note(cut, completion, "/clear empties it"))
        if session.verbose:
            tell(session.model, self._llm.kernels, completion)
        self._save()

    def _save(self) -> None:
        if not self._saves:
            return
        try:
            self._archive.save(self._session)
        except IngleError as error:
            self._saves = False
            note(f"{error}\n(this conversation is not saved)")


def _display() -> Display:
    """Markdown on a terminal that can move its cursor, else plain text."""
    from prompt_toolkit.utils import is_dumb_terminal

    if not sys.stdout.isatty() or is_dumb_terminal():
        return PlainDisplay()
    from ingle.cli.markdown import MarkdownDisplay

    return MarkdownDisplay()
