"""Owns rotary frequencies: plain, Llama 3's scaling, and YaRN. It does not know attention.

Every step is float32 in the order of transformers' modeling_rope_utils, because at position 100,000
the last bit of a frequency moves an angle by a hundredth.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.models.config import Config
from ingle.ops import RopeTable

Floats = NDArray[np.float32]

_ONE = np.float32(1)

# torch's float32 power is not always the nearest number. Where it is not, for the bases and sizes
# of published models: (rope_theta, head_dim) -> {i: torch's theta^(2i / head_dim)}.
_TORCH_POWERS = {
    (150000.0, 64): {6: 9.34366131, 10: 41.4503822},  # gpt-oss
    (1000000.0, 128): {37: 2942.72705},  # Qwen3
    (5000000.0, 128): {19: 97.4443588},  # Qwen3, July 2025
}


def rope_table(
    config: Config,
    head_dim: int,
    positions: int,
    *,
    rope_theta: float | None = 10000.0,
    rope_type: str = "default",
    yarn_factor: float | None = None,
    original_max_position_embeddings: int | None = None,
    truncate_yarn: bool | None = None,
    rounds_yarn: bool = True,
    interleaved: bool = False,
    divisors: Floats | None = None,
) -> RopeTable:
    """What the configuration says, with these defaults where it says nothing.

    truncate_yarn: the user's wish; else the file's, else `rounds_yarn`. divisors: float32
    (head_dim / 2,) that divide the frequencies, Llama 3's scaling as GGUF stores it.
    """
    if head_dim % 2:
        raise FileFormatError(
            f"{config.where} head_dim", f"value must be even to be rotated, but got {head_dim}"
        )
    config.require("partial_rotary_factor", 1.0, 1)
    theta = config.real("rope_theta", rope_theta, low=1.0 + 1e-6, high=1e12)
    kind = config.text("rope_type", rope_type)
    if kind != "yarn" and truncate_yarn is not None:
        raise IngleError(
            "truncate_yarn",
            f"model must scale its context by yarn, but it is {kind}",
            "leave it out",
        )
    periods = _periods(theta, head_dim)
    magnitude = 1.0
    if kind in ("default", "none"):
        frequencies = _ONE / periods
    elif kind == "llama3":
        frequencies = _llama3(config, _ONE / periods)
    elif kind == "yarn":
        factor = config.real("factor", yarn_factor, low=1.0, high=1e6)
        trained = config.integer(
            "original_max_position_embeddings", original_max_position_embeddings, high=1 << 30
        )
        stated = config.flag("truncate", rounds_yarn)
        rounded = stated if truncate_yarn is None else truncate_yarn
        frequencies = _yarn(config, periods, theta, factor, trained, rounded)
        magnitude = _yarn_magnitude(config, factor)
    else:
        raise UnsupportedError(
            f"{config.where} rope_type", f"must be default, llama3 or yarn, but got {kind!a:.80}"
        )
    if divisors is not None:
        if not (np.isfinite(divisors) & (divisors > 0)).all():
            rule = f"divisors of rotary frequencies must be above 0, but got {divisors.min()}"
            raise FileFormatError(config.where, rule)
        frequencies = frequencies / divisors
    return RopeTable(frequencies, positions, magnitude, interleaved)


def _periods(theta: float, head_dim: int) -> Floats:
    """theta^(2i / head_dim), i < head_dim / 2: float32 (head_dim / 2,)."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    periods: Floats = (theta ** exponents.astype(np.float64)).astype(np.float32)
    for index, power in _TORCH_POWERS.get((theta, head_dim), {}).items():
        periods[index] = power
    return periods


def _yarn(
    config: Config, periods: Floats, theta: float, factor: float, trained: int, rounded: bool
) -> Floats:
    """YaRN (Peng et al. 2023): slow dimensions interpolated, fast ones kept, a ramp between.

    rounded: the ends of the ramp are rounded outwards, as llama.cpp and early servers of gpt-oss
    do; OpenAI's own code does not round.
    """
    dim = 2 * len(periods)

    def dimension(rotations: float) -> float:
        return dim * math.log(trained / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = dimension(config.real("beta_fast", 32.0, low=1e-3, high=1e6))
    high = dimension(config.real("beta_slow", 1.0, low=1e-3, high=1e6))
    if rounded:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    high += 0.001 if low == high else 0
    ramp = (np.arange(dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    kept = _ONE - np.clip(ramp, np.float32(0), _ONE)
    interpolated = _ONE / (np.float32(factor) * periods)
    frequencies: Floats = interpolated * (_ONE - kept) + _ONE / periods * kept
    return frequencies


def _yarn_magnitude(config: Config, factor: float) -> float:
    """What cos and sin are multiplied by."""
    config.require("mscale", None, 0, 0.0)
    usual = 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
    return config.real("attention_factor", usual, low=1e-3, high=1e3)


def _llama3(config: Config, plain: Floats) -> Floats:
    """Llama 3.1: long waves are stretched by `factor`, short ones kept, a ramp between."""
    factor = np.float32(config.real("factor", low=1.0, high=1e6))
    slow = config.real("low_freq_factor", low=1e-3, high=1e6)
    fast = config.real("high_freq_factor", low=1e-3, high=1e6)
    if fast <= slow:
        rule = f"value must be above low_freq_factor {slow}, but got {fast}"
        raise FileFormatError(f"{config.where} high_freq_factor", rule)
    trained = config.integer("original_max_position_embeddings", high=1 << 30)
    wavelength = np.float32(2 * math.pi) / plain
    stretched = np.where(wavelength > np.float32(trained / slow), plain / factor, plain)
    ramp = (np.float32(trained) / wavelength - np.float32(slow)) / np.float32(fast - slow)
    smooth = (_ONE - ramp) * stretched / factor + ramp * stretched
    medium = (wavelength >= np.float32(trained / fast)) & (wavelength <= np.float32(trained / slow))
    result: Floats = np.where(medium, smooth, stretched).astype(np.float32)
    return result
