"""``ingle ps``: owns the list of models that a server has, as the terminal shows it."""

from __future__ import annotations

import json

from ingle.cli.server_call import ask


def ps(as_json: bool) -> None:
    """Print the models and what they are doing."""
    models = ask("GET", "/ingle/status")["models"]
    if as_json:
        print(json.dumps(models, ensure_ascii=False))
        return
    print(f"{'NAME':<28}{'STATE':<10}{'RUNNING':>8}{'WAITING':>8}{'CONTEXT':>9}")
    for one in models:
        state = "loaded" if one["loaded"] else "not yet"
        running, waiting, context = (one.get(k, "") for k in ("running", "waiting", "context"))
        print(f"{one['name']:<28}{state:<10}{running:>8}{waiting:>8}{context:>9}")
