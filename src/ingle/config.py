"""Owns the settings: what is in force, and where it was said.

An environment variable wins over ``config.toml`` in ingle's folder, which wins over the default.
It does not know what a setting does to whoever asks for it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingle import env
from ingle.errors import IngleError

_DEFAULT = "default"
_FILE_BYTES = 1 << 20
_UNSET = "unset it for the default; `ingle config` shows what is in force"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Setting:
    """One thing that can be set: its name in the file, its variables (best first), its meaning."""

    name: str
    variables: tuple[str, ...]
    read: Callable[[str, str], Any]  # (value as text, where it was said) -> value
    default: str | Callable[[], str] | None
    meaning: str
    in_file: bool = True


@dataclass(frozen=True)
class InForce:
    """A setting's value, and who said so: a variable, the file's path, or ``default``."""

    setting: Setting
    value: Any
    origin: str


def path() -> Path:
    """The configuration file, whether or not it exists."""
    return env.home_dir() / "config.toml"


def get(name: str) -> Any:
    """The value in force of the setting `name`. Raises IngleError for one that cannot be meant."""
    return _in_force(_BY_NAME[name], _file()).value


def in_force() -> list[InForce]:
    """Every setting with its value and origin, in the order of the table."""
    said = _file()
    return [_in_force(setting, said) for setting in SETTINGS]


def models_dir() -> Path:
    """Folder in which ingle keeps models; absolute."""
    folder: Path = get("models")
    return folder


def _in_force(setting: Setting, said: Mapping[str, Any]) -> InForce:
    for variable in setting.variables:
        value = env.text(variable)
        if value is not None:
            return InForce(setting, setting.read(value, variable), variable)
    if setting.name in said:
        where = f"{path()}: {setting.name}"
        return InForce(setting, setting.read(_spelled(said[setting.name]), where), str(path()))
    default = setting.default() if callable(setting.default) else setting.default
    value = None if default is None else setting.read(default, setting.variables[0])
    return InForce(setting, value, _DEFAULT)


def _spelled(value: Any) -> str:
    """A value of the file as a variable would spell it, so that both are checked alike."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _file() -> Mapping[str, Any]:
    """What the file says; nothing if there is none. Raises IngleError for a damaged one."""
    place = path()
    try:
        with place.open("rb") as file:
            data = file.read(_FILE_BYTES + 1)
        if len(data) > _FILE_BYTES:
            rule = "the file must have at most 1 MiB, but got more"
            raise IngleError(str(place), rule, "it is some other file: move it away")
        said = tomllib.loads(data.decode())
    except FileNotFoundError:
        return {}
    except OSError as error:
        rule = f"the file must be readable, but got {error.strerror or error}"
        raise IngleError(str(place), rule, "correct its permissions, or remove it") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        rule = f"the file must be TOML, but got {' '.join(str(error).split())[:200]}"
        raise IngleError(
            str(place), rule, 'a line reads like: context = 8192 or host = "::1"'
        ) from None
    _check_names(said, place)
    return said


def _check_names(said: Mapping[str, Any], place: Path) -> None:
    known = [setting.name for setting in SETTINGS if setting.in_file]
    for name, value in said.items():
        if name not in known:
            rule = f"a setting must be a known one, but got {name[:60]!r}"
            raise IngleError(str(place), rule, f"settings are {', '.join(known)}")
        if not isinstance(value, str | int | float | bool):
            rule = f"a setting must be text or a number, but got {type(value).__name__}"
            raise IngleError(f"{place}: {name}", rule, "write it as name = value, in one line")


def _text(value: str, where: str) -> str:
    if not value.isprintable():
        rule = f"the value must be printable, but got {value!r:.60}"
        raise IngleError(where, rule, "a line end or another control character got into it")
    return value


def _folder(value: str, where: str) -> Path:
    return env.folder(_text(value, where), where)


def _count(value: str, where: str) -> int:
    try:
        count = int(value)
    except ValueError:
        count = 0
    if not 1 <= count <= 1 << 31:
        rule = f"the value must be a whole number from 1 up, but got {value!r:.60}"
        raise IngleError(where, rule, _UNSET)
    return count


def _yes(value: str, where: str) -> bool:
    words = {"1": True, "on": True, "yes": True, "true": True}
    words |= {"0": False, "off": False, "no": False, "false": False}
    if value.lower() not in words:
        rule = f"the value must be true or false, but got {value!r:.60}"
        raise IngleError(where, rule, _UNSET)
    return words[value.lower()]


def parse_seconds(value: str, where: str) -> float:
    """``5m``, ``1h30m``, ``300`` (seconds); a negative one never ends (infinity), as in Ollama."""
    bare = value.strip().removeprefix("-")
    parts = _DURATION.findall(bare)
    if re.fullmatch(r"\d+(\.\d+)?", bare):
        seconds = float(bare)
    elif parts and "".join(map("".join, parts)) == bare:
        seconds = sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    else:
        rule = f"the value must be a time such as 5m, but got {value!r:.60}"
        raise IngleError(where, rule, "units are ms, s, m and h; -1 is for ever")
    return float("inf") if value.strip().startswith("-") else seconds


SETTINGS = (
    Setting(
        "models",
        ("INGLE_MODELS",),
        _folder,
        lambda: str(env.home_dir() / "models"),
        "folder ingle keeps models in",
    ),
    Setting(
        "context",
        ("INGLE_CONTEXT", "OLLAMA_CONTEXT_LENGTH"),
        _count,
        None,
        "tokens a context holds; unset, 4096 or what the model has been made for",
    ),
    Setting("threads", ("INGLE_THREADS",), _count, None, "CPU threads; unset, every usable core"),
    Setting("cpu", ("INGLE_CPU",), _text, None, "instruction set that is forced", in_file=False),
    Setting(
        "host",
        ("INGLE_HOST", "OLLAMA_HOST"),
        _text,
        "127.0.0.1:11434",
        "address of the server, `ingle serve`",
    ),
    Setting(
        "keep_alive",
        ("INGLE_KEEP_ALIVE", "OLLAMA_KEEP_ALIVE"),
        parse_seconds,
        "5m",
        "seconds the server keeps an idle model loaded",
    ),
    Setting(
        "origins",
        ("INGLE_ORIGINS", "OLLAMA_ORIGINS"),
        _text,
        None,
        "origins of web pages that may ask the server, with commas between",
    ),
    Setting(
        "offline",
        ("INGLE_OFFLINE", "HF_HUB_OFFLINE"),
        _yes,
        "false",
        "never ask the network for a model",
    ),
    Setting("connections", ("INGLE_CONNECTIONS",), _count, "4", "at once, for one download"),
    Setting(
        "ollama_models",
        ("OLLAMA_MODELS",),
        _folder,
        "~/.ollama/models",
        "Ollama's models, used where they lie",
    ),
    Setting(
        "lm_studio_models",
        ("INGLE_LM_STUDIO_MODELS",),
        _folder,
        "~/.lmstudio/models",
        "LM Studio's models, used where they lie",
    ),
)
_BY_NAME = {setting.name: setting for setting in SETTINGS}
