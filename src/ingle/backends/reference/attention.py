"""Owns attention in the native kernels' own arithmetic: which sums are folded, and in what order.

native/kernels/attention.inl.h promises the same. It does not know pages' places or batches.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ingle.backends.reference.fma import Floats, fma, fma_chain, lane_sum
from ingle.ops import PAGE_TOKENS

_LANES = 16
_NO_MAXIMUM = -np.finfo(np.float32).max
_LOG2_E = np.float32(1.44269504)
_EXP2 = tuple(  # from the fifth power down
    map(
        float.fromhex,
        ("0x1.5bba0ep-10", "0x1.3cea94p-7", "0x1.c6b754p-5", "0x1.ebf9bcp-3", "0x1.62e42ap-1", "1"),
    )
)


def attend(
    q: Floats,
    keys: Floats,
    values: Floats,
    visible: NDArray[np.bool_],
    scale: float,
    sinks: Floats | None,
) -> Floats:
    """Softmax attention of one KV head; shapes as in `Arithmetic.attend`."""
    tokens, heads, head_dim = q.shape
    q = q * (np.float32(scale) * _LOG2_E)
    maximum = np.full((tokens, heads), _NO_MAXIMUM, np.float32)
    weight = np.zeros((tokens, heads), np.float32)
    out = np.zeros((tokens, heads, head_dim), np.float32)
    if sinks is not None:
        maximum[:] = sinks * _LOG2_E
        weight[:] = 1
    for span in spans(len(keys) // PAGE_TOKENS):
        here = slice(span.start * PAGE_TOKENS, span.stop * PAGE_TOKENS)
        found = _span(q, keys[here], values[here], visible[:, here])
        largest = np.maximum(found[0], maximum)
        share, before = kernel_exp2(found[0] - largest), kernel_exp2(maximum - largest)
        weight = fma(found[1], share, weight * before)
        out = fma(found[2], share[..., None], out * before[..., None])
        maximum = largest
    return out * (np.float32(1) / weight)[..., None]


def spans(num_pages: int) -> Iterator[range]:
    """The spans of `num_pages` pages: of 8 pages each, from page 64 on of an eighth of the power of
    two that they lie beyond."""
    start = 0
    while start < num_pages:
        length = max(8, (1 << (start.bit_length() - 1)) // 8 if start else 0)
        yield range(start, min(start + length, num_pages))
        start += length


def _span(
    q: Floats, keys: Floats, values: Floats, visible: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Maxima and weights (T, heads), sums of values (T, heads, head_dim) of a span's pages."""
    tokens, heads, head_dim = q.shape
    maximum = np.full((tokens, heads), _NO_MAXIMUM, np.float32)
    weight = np.zeros((tokens, heads, _LANES), np.float32)
    out = np.zeros((tokens, heads, head_dim), np.float32)
    for start in range(0, len(keys), PAGE_TOKENS):
        page = slice(start, start + PAGE_TOKENS)
        rows = np.flatnonzero(visible[:, page].any(axis=1))
        if len(rows):
            seen = visible[rows, page][:, None, :]
            state = maximum[rows], weight[rows], out[rows]
            folded = _fold_page(q[rows], keys[page], values[page], seen, *state)
            maximum[rows], weight[rows], out[rows] = folded
    return maximum, lane_sum(weight), out


def _fold_page(
    q: Floats,
    keys: Floats,
    values: Floats,
    seen: NDArray[np.bool_],
    maximum: Floats,
    weight: Floats,
    out: Floats,
) -> tuple[Floats, Floats, Floats]:
    scores = fma_chain(np.moveaxis(q, -1, 0)[..., None], keys.T[:, None, None, :])
    scores = np.where(seen, scores, np.float32(-np.inf))
    largest = np.maximum(scores.max(axis=-1), maximum)
    correction = kernel_exp2(maximum - largest)
    weight = weight * correction[..., None]
    p = kernel_exp2(scores - largest[..., None])
    for lanes in np.split(p, PAGE_TOKENS // _LANES, axis=-1):
        weight = weight + lanes
    out = out * correction[..., None]
    for position in range(PAGE_TOKENS):
        if seen[..., position].any():
            out = fma(p[..., position, None], values[position], out)
    return largest, weight, out


def kernel_exp2(x: Floats) -> Floats:
    """2^x for x <= 0 as the kernels compute it: 0 below -126, a polynomial of degree 5."""
    clipped = np.maximum(x, np.float32(-126))
    n = np.rint(clipped)
    r = clipped - n
    p = np.full_like(r, np.float32(_EXP2[0]))
    for coefficient in _EXP2[1:]:
        p = fma(p, r, np.float32(coefficient))
    return np.where(x < -126, np.float32(0), np.ldexp(p, n.astype(np.int32))).astype(np.float32)
