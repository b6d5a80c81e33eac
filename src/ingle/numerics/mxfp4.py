"""Owns MXFP4: 32 E2M1 codes under one power of two (E8M0), after OCP Microscaling Formats v1.0.

Two codecs exist. GGUF: 17-byte blocks, exponent then codes, byte j holding elements j and j + 16.
OpenAI: codes (..., 16) and exponents (...) apart, byte j holding elements 2j and 2j + 1. Neither
treats exponent 255 as NaN when decoding. It does not know tensors' names nor their row order.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ingle.errors import IngleError
from ingle.numerics.e2m1 import (
    DOUBLED,
    DOUBLED_SIGNED_ZERO,
    codes_ties_to_even,
    codes_ties_to_zero,
)
from ingle.numerics.format import Bytes, Floats, Format, block_chunks
from ingle.numerics.nibbles import join_nibbles, split_nibbles

_INTERLEAVE = np.array([0, 4], np.uint8)


def half_scales(exponents: Bytes) -> Floats:
    """2^(e - 128) of E8M0 bytes: half of the block scale, for codes kept doubled."""
    return np.ldexp(np.float32(1), exponents.astype(np.int32) - 128).astype(np.float32)


def _decode(blocks: Bytes) -> Floats:
    return half_scales(blocks[:, :1]) * DOUBLED[split_nibbles(blocks[:, 1:])]


def _encode_floor(x: Floats) -> Bytes:
    """llama.cpp's rule: exponent floor(log2(max)) - 2, so up to a quarter of the top saturates.

    The logarithm is rounded to float32 before the floor, as log2f does: a maximum a hair below a
    power of two counts as that power.
    """
    largest = np.abs(x).max(axis=1, keepdims=True).astype(np.float64)
    exponent = np.floor(np.log2(largest).astype(np.float32)) + np.float32(125)
    exponents = np.clip(exponent, 0, 254).astype(np.uint8)  # log2(0) clips to 0
    codes = codes_ties_to_zero(x, half_scales(exponents))
    return np.concatenate([exponents, join_nibbles(codes)], axis=1)


def _encode_round_up(x: Floats) -> Bytes:
    """Triton's default rule (downcast_to_mxfp): scale 2^ceil(log2(max / 6)), ties to even.

    Nothing saturates. A block of zeros gets exponent 0.
    """
    sixth = np.abs(x).max(axis=1, keepdims=True) / np.float32(6)
    bits = (sixth.view(np.uint32) + np.uint32(0x007FFFFF)) & np.uint32(0x7F800000)
    exponents = (bits >> np.uint32(23)).astype(np.uint8)
    codes = codes_ties_to_even(x, half_scales(exponents))
    return np.concatenate([exponents, join_nibbles(codes)], axis=1)


def openai_to_gguf(blocks: Bytes, scales: Bytes) -> Bytes:
    """GGUF rows (..., groups * 17) of OpenAI's blocks (..., groups, 16) and scales (..., groups).

    Codes and exponents are moved, never recomputed.
    """
    _check_openai(blocks, scales)
    out = np.empty((scales.size, 17), np.uint8)
    codes, exponents = blocks.reshape(-1, 16), scales.reshape(-1)
    for rows in block_chunks(len(out), 32):
        first, second = codes[rows, :8], codes[rows, 8:]
        out[rows, 0] = exponents[rows]
        out[rows, 1::2] = (first & np.uint8(15)) | (second << np.uint8(4))
        out[rows, 2::2] = (first >> np.uint8(4)) | (second & np.uint8(0xF0))
    return out.reshape(*scales.shape[:-1], scales.shape[-1] * 17)


def gguf_to_openai(rows: Bytes) -> tuple[Bytes, Bytes]:
    """Blocks (..., groups, 16) and scales (..., groups); the inverse of `openai_to_gguf`."""
    groups = MXFP4.columns(rows.shape[-1]) // 32
    packed = rows.reshape(*rows.shape[:-1], groups, 17)
    even, odd = packed[..., 1::2], packed[..., 2::2]
    blocks = np.empty((*packed.shape[:-1], 16), np.uint8)
    blocks[..., :8] = (even & np.uint8(15)) | (odd << np.uint8(4))
    blocks[..., 8:] = (even >> np.uint8(4)) | (odd & np.uint8(0xF0))
    return blocks, packed[..., 0].copy()


def interleaved_to_gguf(rows: Bytes) -> Bytes:
    """GGUF rows of 17-byte blocks whose codes are in OpenAI's order (Ollama's first release)."""
    groups = MXFP4.columns(rows.shape[-1]) // 32
    packed = rows.reshape(*rows.shape[:-1], groups, 17)
    return openai_to_gguf(packed[..., 1:], packed[..., 0])


def decode_openai(blocks: Bytes, scales: Bytes) -> Floats:
    """Weights float32 (..., groups * 32) of blocks (..., groups, 16) and scales (..., groups).

    Code 8 gives -0, as in OpenAI's own table; `decode(MXFP4, ...)` gives +0.
    """
    _check_openai(blocks, scales)
    codes = (blocks[..., None] >> _INTERLEAVE) & np.uint8(15)
    values = DOUBLED_SIGNED_ZERO[codes.reshape(*scales.shape, 32)]
    with np.errstate(over="ignore"):
        weights: Floats = half_scales(scales)[..., None] * values
    return weights.reshape(*scales.shape[:-1], scales.shape[-1] * 32)


def _check_openai(blocks: Bytes, scales: Bytes) -> None:
    if blocks.dtype != np.uint8 or scales.dtype != np.uint8:
        got = f"{blocks.dtype} and {scales.dtype}"
        raise IngleError("MXFP4", f"blocks and scales must be uint8, but got {got}")
    if scales.ndim == 0 or blocks.shape != (*scales.shape, 16):
        got = f"{blocks.shape} for scales {scales.shape}"
        raise IngleError("MXFP4", f"blocks must hold 16 bytes for every scale, but got {got}")


MXFP4 = Format("MXFP4", 39, 32, 17, _decode, _encode_floor)
MXFP4_ROUND_UP = replace(MXFP4, encode=_encode_round_up)
