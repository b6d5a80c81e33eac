"""Owns llama.cpp's rules: which tensor of a model gets which type for a name such as Q4_K_M.

After llama-quant.cpp. It does not know overrides, files nor encoders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ingle.errors import IngleError
from ingle.numerics import FORMATS

# Name of a mixture: (type of most tensors, value of general.file_type).
MIXTURES: Mapping[str, tuple[str, int]] = {
    "F32": ("F32", 0),
    "F16": ("F16", 1),
    "BF16": ("BF16", 32),
    "Q4_0": ("Q4_0", 2),
    "Q4_1": ("Q4_1", 3),
    "Q5_0": ("Q5_0", 8),
    "Q5_1": ("Q5_1", 9),
    "Q8_0": ("Q8_0", 7),
    "Q2_K": ("Q2_K", 10),
    "Q2_K_S": ("Q2_K", 21),
    "Q3_K_S": ("Q3_K", 11),
    "Q3_K_M": ("Q3_K", 12),
    "Q3_K_L": ("Q3_K", 13),
    "Q4_K_S": ("Q4_K", 14),
    "Q4_K_M": ("Q4_K", 15),
    "Q5_K_S": ("Q5_K", 16),
    "Q5_K_M": ("Q5_K", 17),
    "Q6_K": ("Q6_K", 18),
    "IQ4_NL": ("IQ4_NL", 25),
    "IQ4_XS": ("IQ4_XS", 30),
    "IQ3_S": ("IQ3_S", 26),
    "IQ3_M": ("IQ3_S", 27),
    "MXFP4_MOE": ("MXFP4", 38),
}
# Weights per block of every type the rules speak of; IQ3_S is named by them and not encoded here.
BLOCKS: Mapping[str, int] = {name: fmt.block for name, fmt in FORMATS.items()} | {"IQ3_S": 256}

ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"}

# What takes the place of a type whose blocks do not fill a row.
FALLBACKS = {
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
    "IQ3_S": "IQ4_NL",
    "IQ4_XS": "IQ4_NL",
}
LAST_RESORT = "F16"

_LAYER = re.compile(r"blk\.(\d+)\.")
_KEPT = ("_norm.weight", "ffn_gate_inp.weight")


def mixture_name(text: str) -> str:
    """The canonical name of a mixture; IngleError lists them for another."""
    name = text.upper()
    name = ALIASES.get(name, name)
    if name not in MIXTURES:
        known = ", ".join([*MIXTURES, *ALIASES])
        raise IngleError("TYPE", f"type must be one of {known}, but got {text!a:.60}")
    return name


def is_candidate(name: str, shape: tuple[int, ...]) -> bool:
    """Whether llama.cpp would quantize a tensor: matrices, but no norms and no routers."""
    return len(shape) >= 2 and name.endswith("weight") and not name.endswith(_KEPT)


@dataclass
class Rules:
    """llama.cpp's choices for one model; ask for its tensors in the file's order.

    heads_per_kv: query heads that share a key. num_experts: 0 for a dense model.
    has_output: whether the output matrix is a tensor of its own.
    """

    mixture: str
    num_layers: int
    heads_per_kv: int
    num_experts: int
    has_output: bool
    has_imatrix: bool
    _values_seen: int = field(default=0, init=False)
    _downs_seen: int = field(default=0, init=False)

    def choose(self, name: str, columns: int) -> str:
        """The type before a fallback."""
        default = MIXTURES[self.mixture][0]
        if default in ("F32", "F16", "BF16"):
            return default
        output = "output.weight" if self.has_output else "token_embd.weight"
        if name == output:
            return self._output(default, columns)
        if self.mixture == "MXFP4_MOE":
            return "MXFP4" if "_exps." in name else "Q8_0"
        if "attn_v.weight" in name or "attn_kv_b.weight" in name or "attn_qkv.weight" in name:
            return self._value(default)
        if "attn_k.weight" in name:
            return "Q8_0" if self.num_experts == 8 else default
        if "ffn_down" in name:
            return self._down(name, default)
        if "attn_output.weight" in name:
            return self._attention_output(default)
        return default

    def _output(self, default: str, columns: int) -> str:
        if self.mixture == "MXFP4_MOE" or columns % BLOCKS[default]:
            return "Q8_0"
        return default if default == "Q8_0" else "Q6_K"

    def _value(self, default: str) -> str:
        index, shared = self._values_seen, self.heads_per_kv >= 4
        self._values_seen += 1
        if self.num_experts == 8:
            return "Q8_0"
        match self.mixture:
            case "Q2_K":
                return "Q4_K" if shared else "Q3_K"
            case "Q2_K_S" if shared:
                return "Q4_K"
            case "Q3_K_M":
                return "Q5_K" if index < 2 else "Q4_K"
            case "Q3_K_L":
                return "Q5_K"
            case "IQ4_NL" | "IQ4_XS" if shared:
                return "Q5_K"
            case "IQ3_S" if shared:
                return "Q4_K"
            case "IQ3_M":
                return "Q4_K"
            case "Q4_K_M" | "Q5_K_M" if more_bits(index, self.num_layers):
                return "Q6_K"
            case "Q4_K_S" if index < 4:
                return "Q5_K"
        return default

    def _down(self, name: str, default: str) -> str:
        layer, total = self._downs_seen, self.num_layers
        self._downs_seen += 1
        if self.num_experts > 1 and (match := _LAYER.match(name)):
            layer = int(match[1])
        early = layer < total // 8
        match self.mixture:
            case "Q2_K":
                return "Q3_K"
            case "Q2_K_S" if early:
                return "Q4_K"
            case "Q3_K_M":
                return "Q5_K" if layer < total // 16 else "Q4_K"
            case "Q3_K_L":
                return "Q5_K"
            case "Q4_K_M" | "Q5_K_M" if more_bits(layer, total):
                return "Q6_K"
            case "Q4_K_S" if early:
                return "Q5_K"
            case "IQ3_M" if early:
                return "Q4_K"
            case "IQ4_NL" | "IQ4_XS" if early and not self.has_imatrix:
                return "Q5_K"
            case "Q4_0" | "Q5_0" if early and self.has_imatrix:
                return "Q4_1" if self.mixture == "Q4_0" else "Q5_1"
        return default

    def _attention_output(self, default: str) -> str:
        if self.num_experts == 8:
            low = {"Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "IQ4_XS", "Q4_K_S", "Q4_K_M"}
            return "Q5_K" if self.mixture in low else default
        raised = {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}
        return raised.get(self.mixture, default)


def more_bits(layer: int, total: int) -> bool:
    """The layers that llama.cpp holds to be the more sensitive ones."""
    eighth = total // 8
    return layer < eighth or layer >= 7 * total // 8 or (layer - eighth) % 3 == 2


def fitting(wanted: str, columns: int) -> str:
    """`wanted`, or what llama.cpp takes where its blocks do not fill a row."""
    if columns % BLOCKS[wanted] == 0:
        return wanted
    taken = FALLBACKS.get(wanted, LAST_RESORT)
    return taken if columns % BLOCKS[taken] == 0 else LAST_RESORT


def num_layers(names: Iterable[str]) -> int:
    """Layers that tensor names speak of."""
    return 1 + max((int(m[1]) for name in names if (m := _LAYER.match(name))), default=-1)
