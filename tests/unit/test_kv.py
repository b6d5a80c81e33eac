"""KV pages: every visible position of a window has a page of its own in the ring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ingle.errors import IngleError
from ingle.ops import PAGE_TOKENS, AttentionShape, KvLayout, kept
from ingle.plan.kv import group_bytes
from ingle.runtime.kv import KvPool, KvSequence


@given(st.integers(1, 300), st.integers(1, 200), st.integers(1, 2000), st.data())
def test_a_ring_never_overwrites_what_is_visible(
    window: int, chunk: int, context: int, data: st.DataObject
) -> None:
    layout = KvLayout([AttentionShape(0, 2, 1, 16, window)])
    table = KvSequence(KvPool(layout, context, chunk)).page_table(0)
    first = data.draw(st.integers(0, context - 1))  # of the chunk being written
    last = min(first + chunk, context) - 1
    needed = range(max(0, first - window + 1) // PAGE_TOKENS, last // PAGE_TOKENS + 1)
    pages = [int(table[p]) for p in needed]
    assert len(set(pages)) == len(pages)


def test_full_layers_have_a_page_for_every_position() -> None:
    layout = KvLayout([AttentionShape(i, 4, 2, 32, 0 if i % 2 else 128) for i in range(4)])
    pool = KvPool(layout, 1000, 512)
    full = layout.groups.index(next(g for g in layout.groups if g.window == 0))
    assert layout.groups[full].layers == (1, 3)
    assert pool.keys[full].shape == (2, 16, 2, 32, PAGE_TOKENS)
    assert pool.values[full].shape == (2, 16, 2, PAGE_TOKENS, 32)
    assert sorted(KvSequence(pool).page_table(full)) == list(range(16))
    assert layout.place[3] == (full, 1)


@pytest.mark.parametrize(("kv_type", "value_bytes"), [("f16", 2), ("f32", 4)])
def test_a_pool_takes_what_a_plan_says(kv_type: str, value_bytes: int) -> None:
    layout = KvLayout([AttentionShape(i, 4, 2, 32, 0 if i % 2 else 128) for i in range(4)])
    pool = KvPool(layout, 1000, 512, kv_type=kv_type)
    planned = [group_bytes(group, 1000, value_bytes, 512) for group in layout.groups]
    assert [k.nbytes + v.nbytes for k, v in zip(pool.keys, pool.values, strict=True)] == planned
    assert pool.nbytes == sum(planned)


def test_a_type_that_is_none_is_refused() -> None:
    with pytest.raises(IngleError, match=r"must be f16 or f32, but got 'q3'"):
        KvPool(KvLayout([AttentionShape(0, 1, 1, 16)]), 64, 64, kv_type="q3")


@given(hnp.arrays(np.float32, 40, elements=st.floats(-(2.0**126), 2.0**126, width=32)))
def test_kept_numbers_are_the_nearest(values: NDArray[np.float32]) -> None:
    halves = kept(values, np.dtype(np.float16)).astype(np.float64)
    wanted = np.clip(values.astype(np.float64), -65504, 65504)
    exponents = np.floor(np.log2(np.maximum(np.abs(wanted), 2.0**-14)))
    assert (np.abs(halves - wanted) <= 2.0 ** (exponents - 11)).all()  # half a step
    assert kept(values, np.dtype(np.float32)) is values
