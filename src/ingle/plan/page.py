"""Owns the page of plans: one HTML file with a table of coefficients and the same small sums.

The sums are `page.js`, of which a test asserts that they equal this room's. The page loads nothing.
It does not know how a page is served.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from ingle.plan.anatomy import Anatomy, anatomy
from ingle.plan.catalog import KNOWN
from ingle.plan.forecast import quants
from ingle.plan.hardware import Machine, machines
from ingle.plan.kv import CHUNK_TOKENS
from ingle.plan.speed import PROMPT_TOKENS
from ingle.plan.stretch import stretched
from ingle.plan.subject import Subject, open_subject

CONTEXTS = tuple(1024 * k for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 63, 96, 125, 128))
_FIRST_MACHINE = "RTX 4080"
_UNUSED = ("name", "recipe", "parameters", "active_parameters")


def page(files: Sequence[Subject] = (), local: Machine | None = None) -> str:
    """The page, as text. files: models to show before the known ones. local: the machine at hand,
    before those of the table."""
    room = resources.files("ingle.plan")
    text = room.joinpath("page.html").read_text(encoding="utf-8")
    script = room.joinpath("page.js").read_text(encoding="utf-8")
    table = json.dumps(coefficients(files, local), separators=(",", ":"), allow_nan=False)
    table = table.replace("<", "\\u003c")  # no file's name ends the script
    return text.replace("/*arithmetic*/", script).replace("/*table*/null", table)


def coefficients(files: Sequence[Subject] = (), local: Machine | None = None) -> dict[str, Any]:
    """All that the page's sums need: models in their quantizations, machines, constants."""
    known = [open_subject(name) for name in KNOWN]
    table = [*machines().values()]
    if local is not None and local.name not in machines():
        table.insert(0, local)
    return {
        "chunk_tokens": CHUNK_TOKENS,
        "prompt_tokens": PROMPT_TOKENS,
        "contexts": CONTEXTS,
        "machine": local.name if local else _FIRST_MACHINE,
        "machines": [dataclasses.asdict(machine) for machine in table],
        "models": [_model(subject) for subject in (*files, *known)],
    }


def _model(subject: Subject) -> dict[str, Any]:
    known = KNOWN.get(subject.name) if subject.path is None else None
    variants = {}
    for quant in quants(subject) or (None,):
        pair = {
            kind: stretched(known, quant, gpu) if known else anatomy(subject, gpu)
            for kind, gpu in (("cpu", False), ("gpu", True))
        }
        variants[pair["cpu"].recipe] = {kind: _numbers(one) for kind, one in pair.items()}
    return {
        "name": subject.name,
        "title": known.title if known else subject.name,
        "quant": str(subject.recipe or "as stored"),
        "variants": variants,
    }


def _numbers(model: Anatomy) -> dict[str, Any]:
    found = dataclasses.asdict(model)
    return {name: value for name, value in found.items() if name not in _UNUSED}
