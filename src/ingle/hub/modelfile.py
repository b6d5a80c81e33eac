"""Owns the Modelfile: a base, parameters, a system text, a template. Ollama's grammar, by its docs.

It does not know where the base lies, nor what a parameter does.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingle.errors import FileFormatError, IngleError, UnsupportedError

_MAX_BYTES = 4 << 20
_GO_TEMPLATE = re.compile(r"\{\{-?\s*(?:\.|\$|range\b|with\b|end\b|if\s|else\b|block\b|define\b)")
_TO_COME = {
    "ADAPTER": "LoRA adapters are still to come: merge it into the weights, and name those by FROM",
    "MESSAGE": "example messages are still to come: say them in SYSTEM",
}
_INSTRUCTIONS = ("FROM", "PARAMETER", "SYSTEM", "TEMPLATE", "ADAPTER", "LICENSE", "MESSAGE")


def _whole(text: str) -> int:
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


# What a Modelfile calls it: (what ingle calls it, how it is read).
PARAMETERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "temperature": ("temperature", _real),
    "top_p": ("top_p", _real),
    "top_k": ("top_k", _whole),
    "min_p": ("min_p", _real),
    "typical_p": ("typical_p", _real),
    "repeat_penalty": ("repetition_penalty", _real),
    "repetition_penalty": ("repetition_penalty", _real),
    "presence_penalty": ("presence_penalty", _real),
    "frequency_penalty": ("frequency_penalty", _real),
    "seed": ("seed", _whole),
    "num_predict": ("max_tokens", _whole),
    "max_tokens": ("max_tokens", _whole),
    "num_ctx": ("context", _whole),
    "context": ("context", _whole),
    "num_thread": ("threads", _whole),
    "threads": ("threads", _whole),
    "num_experts_per_tok": ("num_experts_per_tok", _whole),
    "preset": ("preset", str),
    "stop": ("stop", str),
}
_OTHERS = (  # of Ollama's, which ingle has no like of
    *(
        "num_gpu",
        "num_batch",
        "num_keep",
        "main_gpu",
        "use_mmap",
        "repeat_last_n",
        "penalize_newline",
    ),
    *("mirostat", "mirostat_eta", "mirostat_tau", "tfs_z", "numa", "low_vram", "draft_num_predict"),
)


@dataclass
class Modelfile:
    """What a Modelfile says; `base` is a name or a path, `parameters` have ingle's names."""

    base: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    system: str | None = None
    template: str | None = None
    license: str | None = None

    def settings(self) -> dict[str, Any]:
        """All but the base, as a manifest keeps it; what is not said is left out."""
        said = {
            "parameters": self.parameters or None,
            "system": self.system,
            "template": self.template,
            "license": self.license,
        }
        return {name: value for name, value in said.items() if value is not None}


def read(path: Path) -> Modelfile:
    """The Modelfile at `path`. Raises IngleError naming the line."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        rule = f"the Modelfile must be readable, but got {error.strerror or error}"
        raise IngleError(str(path), rule, "name it with -f") from None
    except UnicodeDecodeError as error:
        raise _wrong(
            path, 1, f"text must be UTF-8, but got another byte at {error.start}"
        ) from None
    if len(data) > _MAX_BYTES:
        raise FileFormatError(
            str(path), "a Modelfile must have at most 4 MiB, but got more", "name it with -f"
        )
    return parse(text, path)


def parse(text: str, path: Path) -> Modelfile:
    """What the text of a Modelfile says. Raises FileFormatError, UnsupportedError."""
    found, lines, at = Modelfile(), text.split("\n"), 0
    while at < len(lines):
        line, number = lines[at].strip(), at + 1
        at += 1
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ") if " " in line else line.partition("\t")
        value, at = _value(rest.strip(), lines, at, path)
        _take(found, word.upper(), value, path, number)
    if not found.base:
        raise _wrong(path, 1, "a Modelfile must say FROM, but got none", "FROM gpt-oss:20b")
    return found


def checked_template(text: str, where: str) -> str:
    """A template as ingle runs them. Raises UnsupportedError for one of Ollama's."""
    if _GO_TEMPLATE.search(text):
        raise UnsupportedError(
            where,
            "TEMPLATE must be Jinja, but got one of Ollama's (Go)",
            "leave TEMPLATE out: the model brings its own",
        )
    return text


def parameters_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as Ollama keeps them in its store, under ingle's names; others are left out."""
    found: dict[str, Any] = {}
    for name, value in said.items():
        for one in value if isinstance(value, list) else [value]:
            try:
                _add(found, name, str(one))
            except (KeyError, ValueError):
                continue
    return found


def _take(found: Modelfile, word: str, value: str, path: Path, number: int) -> None:
    if word not in _INSTRUCTIONS:
        rule = f"an instruction must be one of {', '.join(_INSTRUCTIONS)}, but got {word[:40]!r}"
        raise _wrong(path, number, rule)
    if not value:
        raise _wrong(path, number, f"{word} must be followed by a value, but got none")
    if word == "FROM":
        if found.base:
            raise _wrong(path, number, "FROM must stand once, but got another")
        found.base = value
    elif word == "PARAMETER":
        name, _, rest = value.partition(" ")
        _parameter(found.parameters, name, _unquoted(rest.strip()), f"{path}:{number}")
    elif word == "SYSTEM":
        found.system = value
    elif word == "LICENSE":
        found.license = value
    elif word == "TEMPLATE":
        found.template = checked_template(value, f"{path}:{number}")
    else:
        rule = f"a Modelfile must do without {word} for now, but got {value[:60]!r}"
        raise UnsupportedError(f"{path}:{number}", rule, _TO_COME[word])


def checked_parameters(said: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Parameters as a request has them, under ingle's names. Raises IngleError."""
    found: dict[str, Any] = {}
    for name, value in said.items():
        for one in value if isinstance(value, list) else [value]:
            _parameter(found, name, str(one), f"{where}.{name[:40]}")
    return found


def _parameter(found: dict[str, Any], name: str, rest: str, where: str) -> None:
    name = name.lower()
    if name in _OTHERS:
        rule = f"a parameter must be one that ingle has, but got {name}"
        raise UnsupportedError(where, rule, "leave it out")
    try:
        _add(found, name, rest)
    except KeyError:
        close = difflib.get_close_matches(name, PARAMETERS, 1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(PARAMETERS)}"
        rule = f"a parameter must be a known one, but got {name[:40]!r}"
        raise FileFormatError(where, rule, hint) from None
    except ValueError:
        rule = f"{name} must be {_kind(name)}, but got {rest[:40]!r}"
        raise FileFormatError(where, rule) from None


def _add(found: dict[str, Any], name: str, text: str) -> None:
    ours, read = PARAMETERS[name]
    value = read(text)
    if ours == "stop":
        if not text:
            raise ValueError(text)
        found.setdefault("stop", []).append(value)
    elif name == "num_predict" and value < 0:
        found.pop(ours, None)  # Ollama's way to say: without end
    else:
        found[ours] = value


def _kind(name: str) -> str:
    read = PARAMETERS[name][1]
    return "a whole number" if read is _whole else "a number" if read is _real else "text"


def _value(rest: str, lines: list[str], at: int, path: Path) -> tuple[str, int]:
    """The value that begins with `rest`, and the line after it: plain, or in triple quotes."""
    if not rest.startswith('"""'):
        return _unquoted(rest), at
    begun, parts, rest = at, [], rest[3:]
    while '"""' not in rest:
        parts.append(rest)
        if at >= len(lines):
            raise _wrong(path, begun, 'text in """ must end in """, but got the end of the file')
        rest, at = lines[at], at + 1
    parts.append(rest.partition('"""')[0])
    return "\n".join(parts).strip("\n"), at


def _unquoted(text: str) -> str:
    quoted = len(text) >= 2 and text[0] == text[-1] == '"'
    return text[1:-1].replace('\\"', '"').replace("\\n", "\n") if quoted else text


def _wrong(path: Path, number: int, rule: str, hint: str = "") -> FileFormatError:
    return FileFormatError(f"{path}:{number}", rule, hint)
