"""Owns how long a model stays, as Ollama's clients write it: ``"5m"``, 300, 0, -1."""

from __future__ import annotations

import math
import re

from ingle.errors import IngleError

_UNITS = {
    **{"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3},
    **{"s": 1.0, "m": 60.0, "h": 3600.0},
}
_PART = rf"(\d{{1,18}}(?:\.\d{{0,18}})?|\.\d{{1,18}})({'|'.join(_UNITS)})"
_WHOLE = re.compile(rf"(-?)((?:{_PART})+)")
_MOST_S = 1e12
_HINT = 'for example "5m", a number of seconds, 0 to unload at once, or -1 to stay'


def seconds(value: str | float, where: str = "keep_alive") -> float:
    """Seconds of a duration as Go writes it, or of a number; infinite for what is negative.

    Raises IngleError naming `where`.

    >>> seconds("1h30m"), seconds(0), seconds("-1")
    (5400.0, 0.0, inf)
    """
    if isinstance(value, str):
        value = _parsed(value.strip(), where)
    if not _MOST_S >= value >= -_MOST_S:  # nor NaN
        rule = f"it must be a duration below {_MOST_S:.0e} s, but got {str(value)[:60]}"
        raise IngleError(where, rule, _HINT)
    return math.inf if value < 0 else float(value)


def _parsed(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        found = _WHOLE.fullmatch(text[:200])
    if found is None:
        raise IngleError(where, f"it must be a duration, but got {text[:60]!r}", _HINT)
    sign = -1.0 if found[1] else 1.0
    return sign * sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, found[2]))
