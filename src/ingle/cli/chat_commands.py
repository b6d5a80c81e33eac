"""Owns the commands of a chat, the lines that begin with a slash. They change a `Session`.

It does not know how lines are read or answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ingle.cli.archive import Archive
from ingle.cli.layout import pairs
from ingle.cli.note import note, width_of_stderr
from ingle.cli.request import check_reasoning, read_parameter
from ingle.cli.session import Session
from ingle.cli.wishes import read_format
from ingle.errors import IngleError

if TYPE_CHECKING:
    from ingle.llm import LLM

_HELP = (
    ("/set system TEXT", "what the model is told before all else; without TEXT nothing"),
    ("/set NAME VALUE", "a sampling option: temperature, top_p, seed, max_tokens, preset ..."),
    ("/set NAME", "back to the model's own"),
    ("/set think LEVEL", "on, off, low, medium or high, where the model takes it"),
    ("/set format json", "or a FILE of a JSON Schema: hold answers to it; /set format lets go"),
    ("/set reasoning show", "show its reasoning, or hide it"),
    ("/set verbose", "timings after each answer, or quiet"),
    ("/show", "info, or after it: system, parameters, template, messages"),
    ("/save [NAME]", "keep the conversation under a name"),
    ("/load [NAME]", "go on with a saved one; without NAME the names"),
    ("/clear", "forget what was said"),
    ("/help", "this list"),
    ("/bye", "leave, as Ctrl-D does"),
    ('"""', "begins and ends a message of several lines; Alt-Enter breaks a line"),
    ("Ctrl-C", "stop the answer"),
)
NAMES = ("/set", "/show", "/save", "/load", "/clear", "/help", "/bye")
_SYNONYMS = {"/?": "/help", "/exit": "/bye", "/quit": "/bye"}


def help_text(width: int | None) -> str:
    """The commands and what they do, in lines of at most `width` characters."""
    return "\n".join(pairs(_HELP, width))


def is_command(line: str) -> bool:
    """Whether a message is meant as a command: one line, a slash and a word.

    >>> is_command("/set seed 1"), is_command("/usr/bin is a folder"), is_command("/?")
    (True, False, True)
    """
    word = line.partition(" ")[0]
    return word[:1] == "/" and (word[1:].isalpha() or word == "/?") and "\n" not in word


class Commands:
    """The commands of one chat. Each tells on stderr what it did, or raises IngleError."""

    def __init__(self, llm: LLM, session: Session, archive: Archive) -> None:
        self._llm, self._session, self._archive = llm, session, archive
        self._run: Mapping[str, Callable[[str], None]] = {
            "/set": self._set,
            "/show": self._show,
            "/save": self._save,
            "/load": self._load,
            "/clear": self._clear,
            "/help": lambda _: note(help_text(width_of_stderr())),
        }

    def take(self, line: str) -> bool:
        """Do what a command says; False if it says to leave. Raises IngleError."""
        word, _, rest = line.partition(" ")
        word = _SYNONYMS.get(word, word)
        if word == "/bye":
            return False
        if word not in self._run:
            raise IngleError(word, "it is no command", "/help shows them")
        self._run[word](rest.strip())
        return True

    def _set(self, words: str) -> None:
        name, _, value = words.partition(" ")
        value = value.strip()
        if name in ("parameter", "param"):
            name, _, value = value.partition(" ")
        session = self._session
        match name:
            case "":
                raise IngleError("/set", "a name must follow, but got none", "/help shows them")
            case "system":
                session.system = value.strip("\"'") or None
            case "think" | "nothink":
                session.choose("reasoning", _reasoning(name, value))
            case "reasoning":
                hidden = _choice(name, value, ("show", "hide")) == "hide"
                session.choose("hide_reasoning", hidden)
            case "verbose" | "quiet":
                session.verbose = name == "verbose"
            case "format":
                self._set_format(value)
            case _:
                own, number = read_parameter(name, value.strip())
                session.choose(own, number)
                shown = "the model's own" if number is None else number
                note(f"{own} is {shown}")

    def _set_format(self, value: str) -> None:
        """Hold the answers to come to a format; "" lets them go."""
        self._session.wishes.pop("format", None)
        if value:
            self._session.wishes["format"] = read_format(value, "/set format")
        note(f"answers are held to {value}" if value else "answers are in any format")

    def _show(self, words: str) -> None:
        session = self._session
        parts = {
            "info": lambda: self._info(),
            "system": lambda: session.system or "(no system message)",
            "parameters": lambda: _parameters(session),
            "template": lambda: self._llm.chat_template or "(no template)",
            "messages": lambda: _messages(session),
        }
        which = _choice("show", words or "info", tuple(parts), "/show")
        note(parts[which]())

    def _info(self) -> str:
        session = self._session
        lines = [
            f"model       {session.model}, {self._llm.kernels} kernels",
            f"context     {self._llm.context_tokens} tokens",
            f"said        {len(session.messages)} messages"
            + (f", saved as {session.name}" if session.name else ""),
            f"system      {session.system or '(none)'}",
            f"parameters  {' '.join(_parameters(session).splitlines())}",
        ]
        return "\n".join(lines)

    def _save(self, name: str) -> None:
        session = self._session
        if not session.messages:
            rule = "something must have been said first, but got nothing"
            raise IngleError("/save", rule, "ask something, then save")
        session.name = _name(name) if name else session.name
        self._archive.save(session)
        named = f" as {session.name}: /load {session.name}" if session.name else ""
        note(f"saved{named}; `ingle run -c` goes on with the latest")

    def _load(self, name: str) -> None:
        if not name:
            note("saved: " + (", ".join(self._archive.names()) or "nothing under a name yet"))
            return
        session = self._session
        model = session.model
        if not self._archive.restore(session, name):
            known = ", ".join(self._archive.names()) or "none"
            rule = f"a conversation of that name must have been saved, but got {name!r:.60}"
            raise IngleError("/load", rule, f"saved names: {known}")
        other = f" (it was said with {session.model})" if session.model != model else ""
        session.model = model
        note(f"{session.name}: {len(session.messages)} messages{other}")

    def _clear(self, _: str) -> None:
        self._session.forget()
        note("forgotten; what was saved stays saved")


def _reasoning(name: str, value: str) -> str:
    level = "off" if name == "nothink" else value or "on"
    check_reasoning(level, f"/set {name}")
    return level


def _choice(name: str, value: str, choices: tuple[str, ...], where: str = "") -> str:
    if value not in choices:
        where = where or f"/set {name}"
        rule = f"it must be one of {', '.join(choices)}, but got {value!r:.60}"
        raise IngleError(where, rule, f"for example: {where} {choices[0]}")
    return value


def _name(name: str) -> str:
    if len(name) > 100 or not name.isprintable():
        rule = f"a name must be short and printable, but got {name!r:.60}"
        raise IngleError("/save", rule, "for example: /save trip")
    return name


def _parameters(session: Session) -> str:
    said = {name: value for name, value in session.sampling.items() if value is not None}
    said |= {} if session.reasoning is None else {"think": session.reasoning}
    return "\n".join(f"{name} {value}" for name, value in said.items()) or "(the model's own)"


def _messages(session: Session) -> str:
    said = [
        f"{one['role']}: {one['content']}" + (f" ({one['cut']})" if "cut" in one else "")
        for one in session.messages
    ]
    return "\n\n".join(said) or "(nothing said yet)"
