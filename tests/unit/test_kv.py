"""KV pages: every visible position of a window has a page of its own in the ring."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingle.ops import PAGE_TOKENS, AttentionShape, KvLayout
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
