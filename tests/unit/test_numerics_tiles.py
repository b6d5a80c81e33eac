"""The kernel layout holds every byte of the blocks, each where the definition says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.errors import IngleError, UnsupportedError
from ingle.numerics import FORMATS, Format
from ingle.numerics.tiles import has_tiles, num_tiles, pack, tile_bytes, unpack

TILED = [fmt for fmt in FORMATS.values() if has_tiles(fmt)]
SUPER = {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"}
NAMES = (
    {"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4", "F32", "F16", "BF16"}
    | SUPER
    | {"Q6_0"}
)


def random_blocks(fmt: Format, rows: int, blocks: int) -> np.ndarray:
    return np.random.default_rng(rows).integers(0, 256, (rows, blocks * fmt.block_bytes), np.uint8)


def slow_tile(fmt: Format, rows: list[bytes]) -> bytes:
    """One tile by its definition, byte after byte."""
    size = fmt.block_bytes
    blocks = [[row[at : at + size] for at in range(0, len(row), size)] for row in rows]
    columns = range(len(blocks[0]))
    if fmt.block == 1:
        return b"".join(row[c] for c in columns for row in blocks)
    if fmt.name in SUPER:
        return slow_super_tile(fmt.name, blocks)
    scale = 1 if fmt.name == "MXFP4" else 2
    mins = 2 if fmt.name in {"Q4_1", "Q5_1"} else 0
    high = {"Q5_0": 4, "Q5_1": 4, "Q6_0": 8}.get(fmt.name, 0)  # bits above the fourth
    head = scale + mins + high
    out = b""
    for b in columns:
        for group in range(head, size, 4):
            out += b"".join(row[b][group : group + 4] for row in blocks)
        for group in range(head - high, head, 4):
            out += b"".join(row[b][group : group + 4] for row in blocks)
    out += b"".join(row[b][:scale] for b in columns for row in blocks)
    return out + b"".join(row[b][scale : scale + mins] for b in columns for row in blocks)


def gguf_bits(block: bytes, start: int, run: int, width: int, i: int) -> int:
    """Field i of a super-block: `run` bytes hold 8 / width runs of fields, one above another."""
    per_byte = 8 // width
    byte = block[start + i // (run * per_byte) * run + i % run]
    return byte >> (i // run % per_byte * width) & ((1 << width) - 1)


def gguf_code(name: str, block: bytes, i: int) -> int:
    """Code i, as the GGML's structures of blocks have it."""
    if name == "Q2_K":
        return gguf_bits(block, 16, 32, 2, i)
    if name == "Q3_K":
        return gguf_bits(block, 32, 32, 2, i) | gguf_bits(block, 0, 32, 1, i) << 2
    if name == "Q4_K":
        return gguf_bits(block, 16, 32, 4, i)
    if name == "Q5_K":
        return gguf_bits(block, 48, 32, 4, i) | gguf_bits(block, 16, 32, 1, i) << 4
    if name == "Q6_K":
        return gguf_bits(block, 0, 64, 4, i) | gguf_bits(block, 128, 32, 2, i) << 4
    return gguf_bits(block, 8, 16, 4, i)


def sub_scale_bytes(name: str, block: bytes) -> list[int]:
    """As tiles have them."""
    if name == "Q2_K":
        return list(block[:16])
    if name == "Q6_K":
        return list(block[192:208])
    if name == "IQ4_XS":
        return [*block[4:8], *block[2:4]]
    if name == "Q3_K":
        s = block[96:108]
        six = [
            (s[b % 8] >> b // 8 * 4 & 15) | (s[8 + b % 4] >> b // 4 * 2 & 3) << 4 for b in range(16)
        ]
    else:
        s, six = block[4:16], []
        for b in range(4):
            six += [s[b] & 63, s[b + 4] & 63]
        for b in range(4):
            six += [s[b + 8] & 15 | s[b] >> 6 << 4, s[b + 8] >> 4 | s[b + 4] >> 6 << 4]
    low = [six[2 * b] & 15 | (six[2 * b + 1] & 15) << 4 for b in range(8)]
    pairs = [number >> 4 for number in six]
    return low + [sum(pairs[4 * k + f] << 2 * f for f in range(4)) for k in range(4)]


PLANES = {  # of columns 4g + j: (nibbles, lowest bit of pairs, bit)
    "Q2_K": (False, 0, None),
    "Q3_K": (False, 0, 2),
    "Q4_K": (True, None, None),
    "Q5_K": (True, None, 4),
    "Q6_K": (True, 4, None),
    "IQ4_XS": (True, None, None),
}
SCALES = {  # where d and dmin lie
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_XS": (0,),
}


def slow_super_tile(name: str, blocks: list[list[bytes]]) -> bytes:
    nibbles, pairs, bit = PLANES[name]
    out = bytearray()
    for s in range(len(blocks[0])):
        for first in range(0, 256, 32):
            rows = [[gguf_code(name, row[s], first + i) for i in range(32)] for row in blocks]
            if nibbles:
                for g in range(4):
                    for c in rows:
                        out += bytes(
                            c[4 * g + j] & 15 | (c[16 + 4 * g + j] & 15) << 4 for j in range(4)
                        )
            if pairs is not None:
                for half in (0, 16):
                    for c in rows:
                        fields = [
                            [c[half + 4 * f + j] >> pairs & 3 for f in range(4)] for j in range(4)
                        ]
                        out += bytes(sum(v << 2 * f for f, v in enumerate(of)) for of in fields)
            if bit is not None:
                for c in rows:
                    fields = [[c[4 * g + j] >> bit & 1 for g in range(8)] for j in range(4)]
                    out += bytes(sum(v << g for g, v in enumerate(of)) for of in fields)
    for s in range(len(blocks[0])):
        subs = [sub_scale_bytes(name, row[s]) for row in blocks]
        out += bytes(row[k] for k in range(len(subs[0])) for row in subs)
        for at in SCALES[name]:
            out += b"".join(row[s][at : at + 2] for row in blocks)
    return bytes(out)


def test_which_formats_have_tiles() -> None:
    assert {fmt.name for fmt in TILED} == NAMES


@pytest.mark.parametrize("fmt", TILED, ids=lambda fmt: fmt.name)
@given(rows=st.integers(0, 50), blocks=st.integers(0, 5))
def test_bijective(fmt: Format, rows: int, blocks: int) -> None:
    data = random_blocks(fmt, rows, blocks)
    tiles = pack(fmt, data)
    assert tiles.shape == (num_tiles(rows), tile_bytes(fmt, blocks * fmt.block))
    np.testing.assert_array_equal(unpack(fmt, tiles, rows), data)


@pytest.mark.parametrize("fmt", TILED, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize(("rows", "blocks"), [(16, 1), (16, 3), (33, 2), (5, 2)])
def test_tiles_equal_their_definition(fmt: Format, rows: int, blocks: int) -> None:
    data = random_blocks(fmt, rows, blocks)
    tiles = pack(fmt, data)
    zero = bytes(data.shape[1])
    for tile in range(num_tiles(rows)):
        lines = [row.tobytes() for row in data[16 * tile : 16 * tile + 16]]
        assert tiles[tile].tobytes() == slow_tile(fmt, lines + [zero] * (16 - len(lines)))


def test_codes_lie_in_groups_of_four_columns() -> None:
    """Byte 4r + j of group g is column 4g + j, and column 16 + 4g + j above it."""
    block = np.arange(17, dtype=np.uint8)[None] - np.uint8(1)  # exponent 255, qs[j] = j
    tile = pack(FORMATS["MXFP4"], block.repeat(16, axis=0))[0]
    for group in range(4):
        for row in range(16):
            at = 64 * group + 4 * row
            assert tile[at : at + 4].tolist() == [4 * group + j for j in range(4)]
    assert (tile[256:] == 255).all()


def test_large_matrices_are_packed_in_chunks() -> None:
    fmt = FORMATS["Q8_0"]
    data = random_blocks(fmt, 1500, 40)
    tiles = pack(fmt, data)
    np.testing.assert_array_equal(tiles[70:71], pack(fmt, data[70 * 16 : 71 * 16]))
    np.testing.assert_array_equal(unpack(fmt, tiles, 1500), data)


def test_formats_without_tiles() -> None:
    for fmt in FORMATS.values():
        if fmt.name not in NAMES:
            with pytest.raises(UnsupportedError, match=f"but got {fmt.name}"):
                pack(fmt, np.zeros((16, fmt.block_bytes), np.uint8))
            with pytest.raises(UnsupportedError, match=f"but got {fmt.name}"):
                tile_bytes(fmt, fmt.block)


def test_bad_tiles() -> None:
    fmt = FORMATS["Q4_1"]
    with pytest.raises(IngleError, match=r"uint8 \(rows, row bytes\)"):
        pack(fmt, np.zeros(20, np.uint8))
    with pytest.raises(IngleError, match="multiple of 20, but got 21"):
        pack(fmt, np.zeros((1, 21), np.uint8))
    with pytest.raises(IngleError, match=r"tiles of 17 rows must be uint8 \(2, tile bytes\)"):
        unpack(fmt, np.zeros((1, 320), np.uint8), 17)
    with pytest.raises(IngleError, match="whole blocks, but got 321"):
        unpack(fmt, np.zeros((1, 321), np.uint8), 16)
