"""Owns drawing charts as PNG files: rectangles, words, a scale of colours. Light, for any page.

Pillow draws; it comes with the extra `pictures`. It does not know what is shown.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.errors import UnsupportedError

Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (29, 29, 31)
FAINT: Colour = (134, 134, 139)
LINE: Colour = (220, 220, 224)
MISSING: Colour = (196, 60, 50)
# Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
SERIES: tuple[Colour, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (120, 120, 120),
)


class Picture:
    """A sheet of `width` x `height`, drawn at twice the resolution."""

    _SCALE = 2

    def __init__(self, width: int, height: int) -> None:
        self._image: Any = _pillow("Image").new("RGB", self._pixels(width, height), PAPER)
        self._draw: Any = _pillow("ImageDraw").Draw(self._image)
        self.width, self.height = width, height

    def box(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """A filled rectangle."""
        if width > 0 and height > 0:
            left, top = self._pixels(x, y)
            right, bottom = self._pixels(x + width, y + height)
            self._draw.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), colour)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: int = 1) -> None:
        """Straight lines through points."""
        self._draw.line([self._pixels(*point) for point in points], colour, width * self._SCALE)

    def words(
        self,
        x: float,
        y: float,
        text: str,
        size: int = 12,
        colour: Colour = INK,
        anchor: str = "lm",
    ) -> None:
        """A line of text; anchor: l, m or r for left to right, then t, m or b for top to bottom."""
        font = _pillow("ImageFont").load_default(size * self._SCALE)
        self._draw.text(self._pixels(x, y), text, fill=colour, font=font, anchor=anchor)

    def save(self, path: str | Path) -> None:
        """Write a PNG beside its name, then under it."""
        held = io.BytesIO()
        self._image.save(held, "PNG", optimize=True)
        path = Path(path)
        aside = path.with_name(path.name + ".part")
        with aside.open("wb") as file:
            file.write(held.getvalue())
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)

    def _pixels(self, x: float, y: float) -> tuple[int, int]:
        return round(x * self._SCALE), round(y * self._SCALE)


def shade(value: float) -> Colour:
    """From pale to deep blue for 0 to 1."""
    low, high = (235, 243, 250), (8, 48, 107)
    share = min(max(value, 0.0), 1.0)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return red, green, blue


def heat_map(
    values: NDArray[np.float64],
    title: str,
    rows: str,
    columns: str,
    path: str | Path,
    colour: Callable[[float], Colour] = shade,
) -> None:
    """Cells of a matrix, each its own colour by the logarithm of its value; zeros are red."""
    num_rows, num_columns = values.shape
    cell = max(3.0, min(18.0, 900 / max(num_rows, num_columns)))
    left, top = 60.0, 56.0
    sheet = Picture(
        max(420, round(left + num_columns * cell + 20)), round(top + num_rows * cell + 50)
    )
    sheet.words(left, 20, title, 15)
    sheet.words(left, 42, f"{columns} across, {rows} down; red: none", 11, FAINT)
    logs = np.log1p(values)
    least, most = float(logs[values > 0].min(initial=logs.max())), float(logs.max())
    for row in range(num_rows):
        if row % max(1, num_rows // 12) == 0:
            sheet.words(left - 6, top + (row + 0.5) * cell, str(row), 10, FAINT, "rm")
        for column in range(num_columns):
            share = (float(logs[row, column]) - least) / max(most - least, 1e-9)
            tint = colour(share) if values[row, column] else MISSING
            sheet.box(left + column * cell, top + row * cell, cell - 0.5, cell - 0.5, tint)
    for column in range(0, num_columns, max(1, num_columns // 12)):
        at = left + (column + 0.5) * cell
        sheet.words(at, top + num_rows * cell + 12, str(column), 10, FAINT, "mm")
    legend = f"{values.min():,.0f} to {values.max():,.0f}, mean {values.mean():,.0f}"
    sheet.words(left, top + num_rows * cell + 32, legend, 11, FAINT)
    sheet.save(path)


def _pillow(name: str) -> Any:
    try:
        return import_module(f"PIL.{name}")
    except ImportError:
        rule = "Pillow must be installed to draw, but is not"
        raise UnsupportedError("picture", rule, 'pip install "ingle[pictures]"') from None
