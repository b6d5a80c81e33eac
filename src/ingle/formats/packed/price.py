"""Owns what fewer bits for head or attention cost, as it was measured on a small model.

`benchmarks/packing_price.py` wrote the figures. It does not know any other model: they are an order
of magnitude there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ingle.formats.packed.requantized import CHOICES


def price_of(choices: Mapping[str, str]) -> dict[str, Any] | None:
    """Of choices such as {"head": "IQ4_NL"}: mean_kld (nats per token), same_top_1 (share), model.

    None when that combination was not measured.
    """
    formats = set(choices.values())
    if len(formats) != 1:
        return None
    table = json.loads(files(__package__).joinpath("price.json").read_text("utf-8"))
    part = "both" if len(choices) == 2 else next(iter(choices))
    measured = {CHOICES.get(c, c.upper()): cost for c, cost in table[part].items()}
    cost = measured.get(formats.pop())
    return None if cost is None else {**cost, "model": table["model"]}


def shown(choices: Mapping[str, str]) -> str:
    """As a person reads it: ``head IQ4_NL: KLD 0.0100 on SmolLM2``; "" without choices."""
    if not choices:
        return ""
    said = ", ".join(f"{part} {name}" for part, name in choices.items())
    cost = price_of(choices)
    if cost is None:
        return f"{said}: not measured"
    share = f"{cost['same_top_1']:.1%} of likeliest tokens the same"
    return f"{said}: KLD {cost['mean_kld']:.4f}, {share}, measured on {cost['model']}"
