"""Rows of a table that lies in a file: read from there, and out of memory where the file ends."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ingle import _native
from ingle.backends.cpu.backend import choose_kernels
from ingle.numerics import FORMATS, encode
from ingle.numerics.tiles import num_tiles

ROWS, WIDTH, START = 100, 64, 4096
Tiles = NDArray[np.uint8]

pytestmark = pytest.mark.skipif(not hasattr(os, "pread"), reason="tables are mapped here")


def tiles_of(fmt: str, values: NDArray[np.float32]) -> Tiles:
    data = np.asarray(encode(FORMATS[fmt], values), np.uint8).reshape(len(values), -1)
    packed = _native.pack_tiles(fmt, data, *values.shape)
    return np.ascontiguousarray(packed, np.uint8).reshape(1, -1)


def matrix(fmt: str, tiles: Tiles, rows: int) -> _native.Matrix:
    stride = tiles.shape[1] // num_tiles(rows)
    return _native.Matrix(fmt, tiles, 0, stride, rows, WIDTH)


def looked_up(
    fmt: str, table: Tiles, ids: NDArray[np.int32], place: tuple[int, int] | None
) -> NDArray[np.float32]:
    """Normalized rows of the table times the unit matrix."""
    tape = _native.Tape(_native.Pool(2), choose_kernels(), len(ids))
    x, chosen, normal = (tape.slot(WIDTH, 0) for _ in range(3))
    tape.embed(matrix(fmt, table, ROWS), None, x, place)
    tape.select_outputs(x, chosen)
    tape.norm(chosen, np.ones(WIDTH, np.float32), None, 1e-5, normal)
    unit = tiles_of("F32", np.eye(WIDTH, dtype=np.float32))
    tape.logits(normal, matrix("F32", unit, WIDTH))
    logits = np.zeros((len(ids), WIDTH), np.float32)
    each = np.arange(len(ids), dtype=np.int32)
    tape.run(ids, each, np.zeros_like(each), each, [], 1, logits)
    return logits


@pytest.mark.parametrize("fmt", ["Q8_0", "Q4_1", "BF16", "F32"])
def test_rows_come_from_the_file(fmt: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    table = tiles_of(fmt, draw.normal(size=(ROWS, WIDTH)).astype(np.float32))
    ids = np.array([0, 15, 16, 99, 42, 42, 98], np.int32)
    expected = looked_up(fmt, table, ids, None)
    path = tmp_path / "tiles"
    path.write_bytes(bytes(START) + table.tobytes())
    with path.open("rb") as file:
        place = (file.fileno(), START)
        np.testing.assert_array_equal(looked_up(fmt, np.zeros_like(table), ids, place), expected)
        assert np.any(looked_up(fmt, np.zeros_like(table), ids, None) != expected)


def test_a_file_that_was_cut_is_read_no_further(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(size=(ROWS, WIDTH)).astype(np.float32)
    table, ids = tiles_of("Q8_0", values), np.array([1, 97], np.int32)
    path = tmp_path / "tiles"
    path.write_bytes(table.tobytes()[: table.size // 2])
    with path.open("rb") as file:
        found = looked_up("Q8_0", table, ids, (file.fileno(), 0))
    np.testing.assert_array_equal(found, looked_up("Q8_0", table, ids, None))


def test_a_descriptor_must_be_open() -> None:
    table = np.zeros((1, num_tiles(ROWS) * 2176), np.uint8)
    tape = _native.Tape(_native.Pool(1), choose_kernels(), 1)
    with pytest.raises(RuntimeError, match="descriptor"):
        tape.embed(matrix("Q8_0", table, ROWS), None, tape.slot(WIDTH, 0), (1 << 30, 0))
