"""Owns reading small JSON files that came from elsewhere: `config.json`, shard indexes.

It does not know what the objects mean.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from ingle.formats.mapping import FileMap, quoted

MAX_JSON_BYTES = 1 << 24
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json_object(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object in a JSON file of at most `max_bytes` (16 MiB).

    Raises FileFormatError when it is larger, not UTF-8 or Unicode, not JSON (NaN and Infinity are
    not), nested too deeply, names a key twice, or is not an object.
    """
    file = FileMap(path)
    if file.size > max_bytes:
        file.fail("", f"JSON file must have at most {max_bytes} bytes, but got {file.size}")
    try:
        text = bytes(file.bytes).decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
        if _SURROGATE.search(text):  # escapes may spell half a pair, which is no Unicode text
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        file.fail("", "JSON must not be nested this deeply")
    except ValueError as error:
        file.fail("", f"file must be valid JSON, but got {_reason(error)}")
    if not isinstance(value, dict):
        file.fail("", f"JSON must be an object, but got {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in seen if keys.count(key) > 1)
        raise ValueError(f"key {quoted(twice)} twice")
    return seen


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name}, which JSON does not have")


def _reason(error: ValueError) -> str:
    return quoted(str(error), 120) if not str(error).isprintable() else str(error)[:120]
