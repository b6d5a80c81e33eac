"""``ingle formats``: owns how number formats are shown side by side, as table and picture."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingle import hub
from ingle.errors import IngleError
from ingle.formats.detect import open_container
from ingle.numerics import FORMATS, decode
from ingle.quantize.comparison import RANGE_BINS, Measured, compare, grids
from ingle.quantize.picture import FAINT, INK, LINE, SERIES, Picture

Floats = NDArray[np.float32]

_MOST_WEIGHTS = 1 << 22  # of a tensor: its first rows are as good as all
_GAUSSIAN = (1024, 2048)
_CURVES = ("INT8", "FP8 E4M3", "Q4_0", "IQ4_NL", "NVFP4", "MXFP4", "INT4 g128")


def formats(
    model: str | None,
    tensor: str | None,
    names: Sequence[str],
    png: str | None,
    threads: int,
    as_json: bool,
) -> None:
    """Print what each format costs and loses on a tensor. Raises IngleError."""
    title, weights = _weights(model, tensor)
    found = compare(weights, threads, names)
    if png is not None:
        _draw(title, found, png)
    if as_json:
        print(json.dumps({"tensor": title, "formats": [_object(one) for one in found]}))
        return
    print(f"{title}, {weights.shape[0]:,} x {weights.shape[1]:,} weights\n")
    head = f"{'format':<10} {'bits':>7} {'vs FP16':>8} {'MSE':>10} {'SNR dB':>7} {'cosine':>9}"
    print(f"{head}  scales")
    for one in found:
        bits = f"{one.bits_per_weight:7.4g} {one.compression:7.2f}x"
        if one.why_not:
            print(f"{one.name:<10} {bits} {'-':>10} {'-':>7} {'-':>9}  {one.why_not}")
            continue
        print(
            f"{one.name:<10} {bits} {one.mse:10.3e} {one.snr_db:7.2f} {one.cosine:9.6f}"
            f"  {one.scales}"
        )
    if png is not None:
        print(png)


def _weights(model: str | None, tensor: str | None) -> tuple[str, Floats]:
    """What to measure on: a model's tensor, or Gaussian numbers."""
    if model is None:
        if tensor is not None:
            raise IngleError("--tensor", "a model must be named for it, but got none", "--model M")
        drawn = np.random.default_rng(0).standard_normal(_GAUSSIAN, np.float32)
        return "Gaussian numbers", drawn
    container = open_container(hub.resolve(model))
    matrices = [
        info
        for info in container.tensors.values()
        if len(info.shape) >= 2 and info.format in FORMATS and info.shape[-1] >= 64
    ]
    if tensor is None:
        if not matrices:
            raise IngleError(model, "it must hold a matrix to measure on, but got none")
        info = matrices[len(matrices) // 2]
    else:
        named = [info for info in matrices if info.name == tensor]
        if not named:
            near = ", ".join(info.name for info in matrices[:3])
            rule = f"it must be a matrix of the model, but got {tensor!a:.60}"
            raise IngleError("--tensor", rule, f"such as {near}")
        info = named[0]
    rows = max(1, min(info.num_elements, _MOST_WEIGHTS) // info.shape[-1])
    stored = container.read(info.name).reshape(-1, info.row_bytes)[:rows]
    weights = np.ascontiguousarray(decode(FORMATS[info.format], stored), np.float32)
    return f"{info.name} ({info.format})", weights


def _object(one: Measured) -> dict[str, object]:
    told = dataclasses.asdict(one) | {"compression": one.compression}
    told["snr_db"] = one.snr_db if math.isfinite(one.snr_db) else None
    return told


def _draw(title: str, found: Sequence[Measured], path: str) -> None:
    """Left: the values that codes can take. Right: relative error by the range of blocks."""
    sheet = Picture(980, 470)
    sheet.words(30, 26, f"Number formats on {title}", 17)
    sheet.words(30, 60, "Values that a block's codes can take", 13)
    for row, (name, values) in enumerate(grids().items()):
        y = 92 + 38 * row
        sheet.words(118, y, name, 12, INK, "rm")
        sheet.line([(132, y), (452, y)], LINE)
        for value in values:
            x = 292 + 160 * float(value)
            sheet.line([(x, y - 7), (x, y + 7)], SERIES[0])
    for value in (-1, 0, 1):
        sheet.words(
            292 + 160 * value,
            92 + 38 * len(grids()) - 8,
            f"{value:+d}" if value else "0",
            11,
            FAINT,
            "mm",
        )
    _curves(sheet, [one for one in found if one.name in _CURVES and one.by_range])
    sheet.save(path)


def _curves(sheet: Picture, found: Sequence[Measured]) -> None:
    left, right, top, bottom = 540.0, 850.0, 92.0, 396.0
    sheet.words(left - 40, 60, "Relative error of blocks of 32, by their range", 13)
    values = [value for one in found for value in one.by_range if value > 0]
    if not values:
        return
    low, high = math.log10(min(values)), math.log10(max(values))
    span = max(high - low, 0.1)
    for power in range(math.floor(low), math.ceil(high) + 1):
        y = bottom - (power - low) / span * (bottom - top)
        if top - 1 <= y <= bottom + 1:
            sheet.line([(left, y), (right, y)], LINE)
            sheet.words(left - 6, y, f"{10.0**power:g}", 11, FAINT, "rm")
    taken: list[float] = []
    order = sorted(enumerate(found), key=lambda pair: -pair[1].by_range[-1])
    for index, one in order:
        colour = SERIES[index % len(SERIES)]
        points = [
            (
                left + (right - left) * place / (RANGE_BINS - 1),
                bottom - (math.log10(max(value, min(values))) - low) / span * (bottom - top),
            )
            for place, value in enumerate(one.by_range)
        ]
        sheet.line(points, colour, 2)
        y = max([points[-1][1], *(placed + 15 for placed in taken)])
        taken = [y]
        sheet.words(right + 8, y, one.name, 12, colour)
    sheet.words(left, bottom + 18, "smallest blocks", 11, FAINT)
    sheet.words(right, bottom + 18, "largest", 11, FAINT, "rm")
