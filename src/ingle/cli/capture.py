"""Owns captures as files: `ingle run --capture FILE` writes one, `--replay FILE` runs it again.

It does not know what a capture holds beside its replies; `ingle.llm.capture` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingle.cli.note import note
from ingle.cli.request import Options
from ingle.errors import IngleError

if TYPE_CHECKING:
    from ingle.llm import LLM
    from ingle.llm.stream import Stream

_MAX_BYTES = 1 << 28


def write(llm: LLM, model: str, options: Options, replies: Iterable[Stream], name: str) -> None:
    """Writes finished replies to the file `name`. Raises IngleError if it cannot be written."""
    from ingle.llm.capture import capture

    settings = {
        "model": model,
        "backend": options.backend,
        "threads": options.threads,
        "exact": options.exact,
    }
    text = json.dumps(capture(llm, settings, replies), ensure_ascii=False)
    path, aside = Path(name).expanduser(), Path(f"{name}.part").expanduser()
    try:
        aside.write_text(text + "\n", encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        rule = f"the file must be writable, but got {name!r:.80}: {error.strerror}"
        raise IngleError("--capture", rule) from None
    note(f"captured in {name}; it holds what was said. `ingle run --replay {name}` runs it again")


def read(name: str) -> dict[str, Any]:
    """A capture. Raises IngleError for a file that holds none."""
    from ingle.llm.capture import FORMAT

    try:
        path = Path(name).expanduser()
        if path.stat().st_size > _MAX_BYTES:
            raise IngleError("--replay", f"a capture has at most {_MAX_BYTES} bytes, but got more")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        rule = f"the file must be readable, but got {name!r:.80}: {error.strerror}"
        raise IngleError("--replay", rule, "check the path") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, IngleError):
            raise
        rule = f"the file must hold JSON, but got {name!r:.80}: {error!s:.80}"
        raise IngleError("--replay", rule) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        rule = f"the file must be a capture ({FORMAT}), but got {name!r:.80}"
        raise IngleError("--replay", rule, "`ingle run --capture FILE` writes one")
    for field, kind in (("settings", dict), ("model", dict), ("replies", list)):
        if not isinstance(found.get(field), kind):
            rule = f"a capture must have {field}, but got {found.get(field)!r:.60}"
            raise IngleError("--replay", rule)
    return found


def replay(llm: LLM, told: Mapping[str, Any]) -> int:
    """Runs a capture again, and says on stdout whether it is the same; the exit code."""
    from ingle.llm.capture import replay as again

    _tell_differences(llm, told)
    count = 0
    for number, reply in enumerate(told["replies"], 1):
        if not isinstance(reply, dict):
            raise IngleError("--replay", f"a reply is an object, but got {reply!r:.60}")
        made = again(llm, reply)
        if not made.same:
            where = "ends otherwise" if made.at is None else f"differs from token {made.at + 1} on"
            print(f"reply {number} of {len(told['replies'])} {where}")
            return 1
        count += made.num_ids
    print(f"replayed {len(told['replies'])} replies, {count} tokens: the same ids")
    return 0


def _tell_differences(llm: LLM, told: Mapping[str, Any]) -> None:
    """What may make ids differ, if they do."""
    if told.get("kernels") != llm.kernels:
        note(f"captured with {told.get('kernels')} kernels, run with {llm.kernels}")
    size = llm.path.stat().st_size if llm.path.is_file() else None
    if told["model"].get("bytes") != size:
        note(f"captured with a file of {told['model'].get('bytes')} bytes, run with {size}")
    from ingle import __version__

    made_by = told.get("versions", {}).get("ingle")
    if made_by != __version__:
        note(f"captured by ingle {made_by}, run by {__version__}")
