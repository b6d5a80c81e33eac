"""Owns what is asked of an INT8 quantization, and how config.json says it.

It does not know tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingle.errors import IngleError

ACTIVATIONS = ("none", "dynamic", "static")
CALIBRATIONS = ("minmax", "percentile", "mse")


@dataclass(frozen=True)
class Scheme:
    """group: columns that share a weight's scale, None for a whole row.

    activations: "none" keeps them (W8A16), "dynamic" rounds each token by its own range, "static"
    by a range from calibration, one per layer. calibration: how ranges are chosen.
    """

    group: int | None = None
    symmetric: bool = True
    activations: str = "none"
    activations_symmetric: bool = True
    calibration: str = "minmax"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("activations", self.activations, ACTIVATIONS),
            ("calibration", self.calibration, CALIBRATIONS),
        ):
            if value not in known:
                raise IngleError(name, f"it must be one of {', '.join(known)}, but got {value!a}")
        if self.group is not None and self.group < 1:
            raise IngleError("group", f"columns must be 1 or more, but got {self.group}")

    def config(self, ignored: list[str]) -> dict[str, Any]:
        """The `quantization_config` of compressed-tensors."""
        weights = {
            **_arguments(self.symmetric, "channel" if self.group is None else "group", False),
            "group_size": self.group,
        }
        inputs = None
        if self.activations != "none":
            dynamic = self.activations == "dynamic"
            strategy = "token" if dynamic else "tensor"
            inputs = _arguments(self.activations_symmetric, strategy, dynamic)
        form = "naive-quantized" if inputs is None else "int-quantized"
        group = {
            "targets": ["Linear"],
            "weights": weights,
            "input_activations": inputs,
            "output_activations": None,
            "format": form,
        }
        return {
            "quant_method": "compressed-tensors",
            "format": form,
            "quantization_status": "compressed",
            "config_groups": {"group_0": group},
            "ignore": ignored,
            "kv_cache_scheme": None,
        }


def _arguments(symmetric: bool, strategy: str, dynamic: bool) -> dict[str, Any]:
    return {
        "num_bits": 8,
        "type": "int",
        "symmetric": symmetric,
        "strategy": strategy,
        "dynamic": dynamic,
    }
