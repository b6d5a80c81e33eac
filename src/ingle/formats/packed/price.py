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
    table = json.loads(files(__package__).joinpath("price.json").read_text("utf-8"))
    for entry in table["measured"]:
        if _formats(entry["choices"]) == _formats(choices):
            cost = {key: entry[key] for key in ("mean_kld", "same_top_1")}
            return {**cost, "model": table["model"]}
    return None


def _formats(choices: Mapping[str, str]) -> dict[str, str]:
    return {part: CHOICES.get(choice, choice.upper()) for part, choice in choices.items()}


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
