"""Owns the order of a super-block's bytes within its row of a tile, and the way back.

A row of a tile sees 256 columns as eight blocks of 32. For each block, its codes in planes:

    nibbles  16 bytes: byte i is column i, and column 16 + i above it   Q4_K Q5_K Q6_K IQ4_XS
    pairs    8 bytes: byte 4h + j is columns 16h + 4f + j at bits 2f    Q6_K (high) Q2_K Q3_K (low)
    bits     4 bytes: byte j is columns 4g + j at bits g                Q5_K (fifth) Q3_K (third)

then the bytes of its sub-scales, its scale, and the scale of its minimums where it has one.
Sub-scales are those of the file, but for Q4_K, Q5_K (scale and minimum of block b) and Q3_K (scales
of block b's halves, raised by 32), two six-bit numbers a block: byte b is their low nibbles, byte
8 + b // 2 their high pairs, at bits 4 (b % 2). It does not know how rows share a tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ingle.numerics.format import Bytes

_U8 = np.uint8


class SuperFields(NamedTuple):
    """Bytes of a row: quants of each of eight blocks, sub-scales, whether minimums have a scale."""

    quants: int
    subs: int
    minimums: bool


class _Planes(NamedTuple):
    nibbles: bool = False
    pairs: int | None = None  # the lower of the two bits
    bits: int | None = None


class _Layout(NamedTuple):
    """Where a file's block has its parts, and what they hold."""

    planes: _Planes
    scale: slice
    subs: slice
    minimum: slice = slice(0, 0)
    sixes: bool = False  # sub-scales are rearranged


_LAYOUTS = {
    "Q2_K": _Layout(_Planes(pairs=0), slice(80, 82), slice(0, 16), slice(82, 84)),
    "Q3_K": _Layout(_Planes(pairs=0, bits=2), slice(108, 110), slice(96, 108), sixes=True),
    "Q4_K": _Layout(_Planes(True), slice(0, 2), slice(4, 16), slice(2, 4), True),
    "Q5_K": _Layout(_Planes(True, bits=4), slice(0, 2), slice(4, 16), slice(2, 4), True),
    "Q6_K": _Layout(_Planes(True, pairs=4), slice(208, 210), slice(192, 208)),
    "IQ4_XS": _Layout(_Planes(True), slice(0, 2), slice(2, 8)),
}

FIELDS = {
    name: SuperFields(
        16 * layout.planes.nibbles
        + 8 * (layout.planes.pairs is not None)
        + 4 * (layout.planes.bits is not None),
        layout.subs.stop - layout.subs.start,
        layout.minimum != slice(0, 0),
    )
    for name, layout in _LAYOUTS.items()
}


def ordered(name: str, blocks: Bytes) -> Bytes:
    """A file's blocks uint8 (n, block bytes) in the order of tiles."""
    layout = _LAYOUTS[name]
    quants = _joined(layout.planes, _CODES[name][0](blocks))
    subs = _SUBS[name][0](blocks[:, layout.subs])
    parts = [quants.reshape(len(blocks), 8 * FIELDS[name].quants), subs, blocks[:, layout.scale]]
    return np.concatenate([*parts, blocks[:, layout.minimum]], axis=1)


def restored(name: str, rows: Bytes) -> Bytes:
    """The inverse of `ordered`."""
    layout, fields = _LAYOUTS[name], FIELDS[name]
    blocks = np.empty_like(rows)
    at = 8 * fields.quants
    _CODES[name][1](blocks, _split(layout.planes, rows[:, :at].reshape(-1, 8, fields.quants)))
    blocks[:, layout.subs] = _SUBS[name][1](rows[:, at : at + fields.subs])
    at += fields.subs
    blocks[:, layout.scale] = rows[:, at : at + 2]
    blocks[:, layout.minimum] = rows[:, at + 2 :]
    return blocks


def _pack_bits(fields: Bytes, width: int, axis: int) -> Bytes:
    """Fields of `width` bits along an axis, the first lowest, as one byte."""
    moved = np.moveaxis(fields, axis, -1)
    shifts = np.arange(0, 8, width, dtype=_U8)
    joined: Bytes = np.bitwise_or.reduce(moved << shifts, axis=-1)
    return joined


def _unpack_bits(packed: Bytes, width: int, axis: int) -> Bytes:
    shifts = np.arange(0, 8, width, dtype=_U8)
    fields = packed[..., None] >> shifts & _U8((1 << width) - 1)
    return np.moveaxis(fields, -1, axis)


def _joined(planes: _Planes, codes: Bytes) -> Bytes:
    """Codes (n, 8, 32) as quants (n, 8, bytes)."""
    parts = []
    if planes.nibbles:
        parts.append(_pack_bits((codes & _U8(15)).reshape(-1, 8, 2, 16), 4, 2))
    if planes.pairs is not None:
        pairs = (codes >> _U8(planes.pairs) & _U8(3)).reshape(-1, 8, 2, 4, 4)
        parts.append(_pack_bits(pairs, 2, 3).reshape(-1, 8, 8))
    if planes.bits is not None:
        bits = (codes >> _U8(planes.bits) & _U8(1)).reshape(-1, 8, 8, 4)
        parts.append(_pack_bits(bits, 1, 2))
    return np.concatenate(parts, axis=2)


def _split(planes: _Planes, quants: Bytes) -> Bytes:
    codes = np.zeros((len(quants), 8, 32), _U8)
    at = 0
    if planes.nibbles:
        codes |= _unpack_bits(quants[..., :16], 4, 2).reshape(-1, 8, 32)
        at = 16
    if planes.pairs is not None:
        pairs = _unpack_bits(quants[..., at : at + 8].reshape(-1, 8, 2, 4), 2, 3)
        codes |= pairs.reshape(-1, 8, 32) << _U8(planes.pairs)
        at += 8
    if planes.bits is not None:
        bits = _unpack_bits(quants[..., at:], 1, 2)
        codes |= bits.reshape(-1, 8, 32) << _U8(planes.bits)
    return codes


# Fields of a file: runs of 32 codes whose nibbles, pairs or single bits share bytes.


def _nibble_runs(packed: Bytes) -> Bytes:
    return _unpack_bits(packed.reshape(-1, 4, 32), 4, 2).reshape(-1, 8, 32)


def _join_nibble_runs(codes: Bytes) -> Bytes:
    return _pack_bits((codes & _U8(15)).reshape(-1, 4, 2, 32), 4, 2).reshape(-1, 128)


def _pair_runs(packed: Bytes) -> Bytes:
    return _unpack_bits(packed.reshape(-1, 2, 32), 2, 2).reshape(-1, 8, 32)


def _join_pair_runs(pairs: Bytes) -> Bytes:
    return _pack_bits((pairs & _U8(3)).reshape(-1, 2, 4, 32), 2, 2).reshape(-1, 64)


def _q4_codes(blocks: Bytes) -> Bytes:
    return _nibble_runs(blocks[:, 16:])


def _set_q4_codes(blocks: Bytes, codes: Bytes) -> None:
    blocks[:, 16:] = _join_nibble_runs(codes)


def _q5_codes(blocks: Bytes) -> Bytes:
    return _nibble_runs(blocks[:, 48:]) | _unpack_bits(blocks[:, 16:48], 1, 1) << _U8(4)


def _set_q5_codes(blocks: Bytes, codes: Bytes) -> None:
    blocks[:, 48:] = _join_nibble_runs(codes)
    blocks[:, 16:48] = _pack_bits(codes >> _U8(4), 1, 1)


def _q6_codes(blocks: Bytes) -> Bytes:
    low = _unpack_bits(blocks[:, :128].reshape(-1, 2, 64), 4, 2).reshape(-1, 8, 32)
    return low | _pair_runs(blocks[:, 128:192]) << _U8(4)


def _set_q6_codes(blocks: Bytes, codes: Bytes) -> None:
    low = (codes & _U8(15)).reshape(-1, 2, 2, 64)
    blocks[:, :128] = _pack_bits(low, 4, 2).reshape(-1, 128)
    blocks[:, 128:192] = _join_pair_runs(codes >> _U8(4))


def _q3_codes(blocks: Bytes) -> Bytes:
    return _pair_runs(blocks[:, 32:96]) | _unpack_bits(blocks[:, :32], 1, 1) << _U8(2)


def _set_q3_codes(blocks: Bytes, codes: Bytes) -> None:
    blocks[:, 32:96] = _join_pair_runs(codes)
    blocks[:, :32] = _pack_bits(codes >> _U8(2), 1, 1)


def _q2_codes(blocks: Bytes) -> Bytes:
    return _pair_runs(blocks[:, 16:80])


def _set_q2_codes(blocks: Bytes, codes: Bytes) -> None:
    blocks[:, 16:80] = _join_pair_runs(codes)


def _iq4_codes(blocks: Bytes) -> Bytes:
    return _unpack_bits(blocks[:, 8:].reshape(-1, 8, 16), 4, 2).reshape(-1, 8, 32)


def _set_iq4_codes(blocks: Bytes, codes: Bytes) -> None:
    blocks[:, 8:] = _pack_bits(codes.reshape(-1, 8, 2, 16), 4, 2).reshape(-1, 128)


_CODES: dict[str, tuple[Callable[[Bytes], Bytes], Callable[[Bytes, Bytes], None]]] = {
    "Q2_K": (_q2_codes, _set_q2_codes),
    "Q3_K": (_q3_codes, _set_q3_codes),
    "Q4_K": (_q4_codes, _set_q4_codes),
    "Q5_K": (_q5_codes, _set_q5_codes),
    "Q6_K": (_q6_codes, _set_q6_codes),
    "IQ4_XS": (_iq4_codes, _set_iq4_codes),
}


def _six_bits(numbers: Bytes) -> Bytes:
    """Two six-bit numbers of each block (n, 8, 2) in 12 bytes."""
    low = _pack_bits(numbers & _U8(15), 4, 2)
    high = _pack_bits((numbers >> _U8(4)).reshape(-1, 4, 4), 2, 2)
    return np.concatenate([low, high], axis=1)


def _split_six_bits(packed: Bytes) -> Bytes:
    low = _unpack_bits(packed[:, :8], 4, 2)
    high = _unpack_bits(packed[:, 8:], 2, 2).reshape(-1, 8, 2)
    return low | high << _U8(4)


def _q45_subs(packed: Bytes) -> Bytes:
    a, b, c = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    six, four, top = _U8(63), _U8(15), _U8(6)
    scales = np.concatenate([a & six, (c & four) | a >> top << _U8(4)], axis=1)
    minimums = np.concatenate([b & six, c >> _U8(4) | b >> top << _U8(4)], axis=1)
    return _six_bits(np.stack([scales, minimums], axis=2))


def _q45_subs_restored(packed: Bytes) -> Bytes:
    numbers = _split_six_bits(packed)
    low, high = numbers[:, :4], numbers[:, 4:]
    firsts = low | high >> _U8(4) << _U8(6)
    return np.concatenate(
        [firsts[..., 0], firsts[..., 1], _pack_bits(high & _U8(15), 4, 2)], axis=1
    )


def _q3_subs(packed: Bytes) -> Bytes:
    low = _unpack_bits(packed[:, :8], 4, 1).reshape(-1, 16)
    high = _unpack_bits(packed[:, 8:], 2, 1).reshape(-1, 16)
    return _six_bits((low | high << _U8(4)).reshape(-1, 8, 2))


def _q3_subs_restored(packed: Bytes) -> Bytes:
    numbers = _split_six_bits(packed).reshape(-1, 16)
    low = _pack_bits((numbers & _U8(15)).reshape(-1, 2, 8), 4, 1)
    return np.concatenate([low, _pack_bits((numbers >> _U8(4)).reshape(-1, 4, 4), 2, 1)], axis=1)


def _low_then_high(packed: Bytes) -> Bytes:
    """IQ4_XS: the four bytes of low nibbles before the two of high pairs."""
    return np.roll(packed, -2, axis=1)


def _high_then_low(packed: Bytes) -> Bytes:
    return np.roll(packed, 2, axis=1)


def _as_they_are(packed: Bytes) -> Bytes:
    return packed


_SUBS: dict[str, tuple[Callable[[Bytes], Bytes], Callable[[Bytes], Bytes]]] = {
    "Q2_K": (_as_they_are, _as_they_are),
    "Q3_K": (_q3_subs, _q3_subs_restored),
    "Q4_K": (_q45_subs, _q45_subs_restored),
    "Q5_K": (_q45_subs, _q45_subs_restored),
    "Q6_K": (_as_they_are, _as_they_are),
    "IQ4_XS": (_low_then_high, _high_then_low),
}
